// Flags of tritter_inference and what they mean together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "access/server_security.h"
#include "common/flags.h"
#include "kernels/kv_cache.h"

namespace CLI {
class App;
}

namespace tritter {

struct ServeOptions {
  std::vector<std::string> models;  // PATH or PATH=name
  std::string tokenizer;            // of the only model; "": looked for beside each
  std::string model_root;           // "": clients neither load nor unload models
  std::string listen = "127.0.0.1:8080";
  std::string http_listen;                     // "": no HTTP API
  std::string metrics_listen = "127.0.0.1:0";  // "": no metrics
  std::string ready_file;                      // "": none
  std::string device = "cpu";                  // cuda_loader.h
  int threads = 0;                             // 0: DefaultThreads
  bool pin_threads = false;
  std::string kv_type = "f32";
  uint64_t max_kv_memory = uint64_t{1} << 30;  // of each model
  uint64_t max_weight_memory = 0;              // of each model; 0: all its weights
  int64_t stream_layers = 4;                   // at a time, of a model that exceeds it
  uint64_t max_memory = 0;                     // of all models; 0: what is available at the start
  bool no_prefix_reuse = false;
  int64_t max_queue = 64;
  int64_t max_batch = 64;
  int64_t prefill_chunk = 128;
  int64_t decoding_chunk = 0;
  int max_streams = 256;
  double time_limit_seconds = 600;  // of a request over HTTP
  double idle_limit_seconds = 300;  // of a gRPC call that waits for its client
  double grace_seconds = 30;
  bool verify = false;
  ServerSecurity security;
};

void AddServeFlags(CommandLine* app, ServeOptions* options);

struct ModelArgument {
  std::string path, name;
};
// "a/b.tpack=chat" → {a/b.tpack, chat}; without a name the file's, less ".tpack".
ModelArgument ParseModelArgument(absl::string_view text);

// "f32", "bf16" or "int4".
std::optional<KvFormat> ParseKvFormat(absl::string_view name);

// InvalidArgument naming the flag: no model and no folder to load one from, two models of one name,
// addresses beyond loopback without what server_security.h asks for, a device that is none, counts
// out of range, a kernel that TRITTER_KERNEL (null when unset) names and this CPU does not run.
absl::Status CheckServeOptions(const ServeOptions& options, const char* kernel_name);

// {"address": "127.0.0.1:41234", ...}, written to --ready-file once requests are answered.
struct ReadyReport {
  std::string address, http_address, metrics_address;
  std::vector<std::string> models;
  std::string kernel;
  int64_t pid = 0;
};
std::string ReadyJson(const ReadyReport& report);

}  // namespace tritter
