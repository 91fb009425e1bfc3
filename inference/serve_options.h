// Flags of tritter_inference and what they mean together.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/flags.h"

namespace CLI {
class App;
}

namespace tritter {

struct ServeOptions {
  std::string model;      // PATH or PATH=name
  std::string tokenizer;  // "": looked for beside the model
  std::string listen = "127.0.0.1:8080";
  std::string metrics_listen = "127.0.0.1:0";  // "": no metrics
  std::string ready_file;                      // "": none
  int threads = 0;                             // 0: one per core
  uint64_t max_kv_memory = uint64_t{1} << 30;
  int64_t max_queue = 64;
  int64_t max_batch = 64;
  int64_t prefill_chunk = 128;
  int max_streams = 256;
  double grace_seconds = 30;
  bool verify = false;
  bool insecure = false;
};

void AddServeFlags(CommandLine* app, ServeOptions* options);

struct ModelArgument {
  std::string path, name;
};
// "a/b.tpack=chat" → {a/b.tpack, chat}; without a name the file's, less ".tpack".
ModelArgument ParseModelArgument(absl::string_view text);

// InvalidArgument naming the flag: addresses beyond loopback without --insecure (traffic is not
// encrypted), counts out of range, a kernel that TRITTER_KERNEL (null when unset) names and this
// CPU does not run.
absl::Status CheckServeOptions(const ServeOptions& options, const char* kernel_name);

// {"address": "127.0.0.1:41234", ...}, written to --ready-file once requests are answered.
struct ReadyReport {
  std::string address, metrics_address, model, kernel;
  int64_t pid = 0;
};
std::string ReadyJson(const ReadyReport& report);

}  // namespace tritter
