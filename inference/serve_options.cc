#include "inference/serve_options.h"

#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "inference/cuda/cuda_loader.h"
#include "kernels/ternary_gemm.h"
#include "nlohmann/json.hpp"

namespace tritter {
namespace {

absl::Status CheckRange(absl::string_view flag, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " is ", value, ", allowed are ", min, " to ", max));
}

absl::Status CheckTime(absl::string_view flag, double seconds) {
  if (seconds > 0 && seconds <= 86400) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " is ", seconds, ", allowed are more than 0 to 86400 seconds"));
}

}  // namespace

void AddServeFlags(CommandLine* app, ServeOptions* o) {
  app->AddFlag("--model", &o->models,
               "PATH or PATH=name of a .tpack, GGUF, Hugging Face folder or our safetensors; all "
               "but a .tpack are packed at start; may be given more than once");
  app->AddFlag("--tokenizer", &o->tokenizer,
               "tokenizer.json of the one --model; empty: NAME.tokenizer.json or tokenizer.json "
               "beside each model");
  app->AddFlag("--model-root", &o->model_root,
               "folder whose models clients may load and unload by name; empty: none");
  app->AddFlag("--listen", &o->listen, "address of the gRPC service; port 0 takes a free one");
  app->AddFlag("--http-listen", &o->http_listen,
               "address of the OpenAI-compatible HTTP API; port 0 takes a free one; empty: none");
  app->AddFlag("--metrics-listen", &o->metrics_listen,
               "address of /metrics; port 0 takes a free one; empty: none");
  app->AddFlag("--ready-file", &o->ready_file,
               "JSON with the addresses, written once requests are answered");
  app->AddFlag("--device", &o->device,
               "what computes: cpu, cuda (the first GPU), cuda:N, or auto (a GPU if there is one); "
               "a GPU needs libtritter_inference_cuda.so beside this program");
  app->AddFlag(
      "--threads", &o->threads,
      "threads that compute; 0: one per physical core that this process may use, within the "
      "quota of its control group");
  app->AddFlag("--pin-threads", &o->pin_threads,
               "keep each of them on one CPU, of distinct physical cores first");
  app->AddFlag("--max-kv-memory", &o->max_kv_memory,
               "bytes of KV cache of each model (512MiB, 4GB)")
      .WithUnit();
  app->AddFlag("--kv-type", &o->kv_type,
               "numbers of the KV cache: f32 (as trained), bf16 (half), int4 (about a seventh)")
      .OneOf({"f32", "bf16", "int4"});
  app->AddFlag("--no-prefix-reuse", &o->no_prefix_reuse,
               "compute every prompt anew, even when an earlier text began alike");
  app->AddFlag("--max-weight-memory", &o->max_weight_memory,
               "bytes of weights of each model in memory (500MB, 4GB), of the GPU where one "
               "computes; the layers of a larger .tpack are read from disk for every token, those "
               "of any larger model copied to the GPU; 0: all weights stay")
      .WithUnit();
  app->AddFlag("--stream-layers", &o->stream_layers,
               "layers read or copied at a time under --max-weight-memory; two such groups are in "
               "memory");
  app->AddFlag(
         "--max-memory", &o->max_memory,
         "bytes of all models, their KV caches and what steps work in; 0: what is available at "
         "the start")
      .WithUnit();
  app->AddFlag("--max-queue", &o->max_queue, "requests that wait; one more is refused at once");
  app->AddFlag("--max-batch", &o->max_batch, "requests computed at a time");
  app->AddFlag("--prefill-chunk", &o->prefill_chunk, "prompt positions computed per step");
  app->AddFlag("--decoding-chunk", &o->decoding_chunk,
               "prompt positions computed per step while other requests wait for their next token; "
               "0: 16 on the CPU, as --prefill-chunk on a GPU and for streamed layers");
  app->AddFlag("--max-streams", &o->max_streams, "calls at a time");
  app->AddFlag("--time-limit", &o->time_limit_seconds, "seconds for one request over HTTP");
  app->AddFlag("--idle-limit", &o->idle_limit_seconds,
               "seconds that a gRPC call waits for its client: a stream for the next request, an "
               "answer for being read");
  app->AddFlag("--grace", &o->grace_seconds, "seconds that running requests get after SIGTERM");
  app->AddFlag("--verify", &o->verify, "check every tensor of the model at start");
  AddServerSecurityFlags(app, &o->security);
}

ModelArgument ParseModelArgument(absl::string_view text) {
  const size_t equals = text.rfind('=');
  if (equals != absl::string_view::npos && equals + 1 < text.size() &&
      text.find('/', equals) == absl::string_view::npos) {
    return {std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
  }
  return {std::string(text), std::string(absl::StripSuffix(Basename(text), ".tpack"))};
}

std::optional<KvFormat> ParseKvFormat(absl::string_view name) {
  if (name == "f32") return KvFormat::kF32;
  if (name == "bf16") return KvFormat::kBf16;
  if (name == "int4") return KvFormat::kInt4;
  return std::nullopt;
}

absl::Status CheckServeOptions(const ServeOptions& o, const char* kernel_name) {
  if (o.models.empty() && o.model_root.empty()) {
    return absl::InvalidArgumentError(
        "nothing to serve: give --model PATH, or --model-root FOLDER to have models loaded later");
  }
  std::set<std::string> names;
  for (const std::string& model : o.models) {
    const ModelArgument argument = ParseModelArgument(model);
    if (!names.insert(argument.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("--model ", model,
                                                     ": another one is called \"", argument.name,
                                                     "\" already; say PATH=name"));
    }
  }
  if (!o.tokenizer.empty() && (o.models.size() != 1 || !o.model_root.empty())) {
    return absl::InvalidArgumentError(
        "--tokenizer is for one --model and no --model-root; beside several, put each model's "
        "tokenizer.json next to it");
  }
  if (!ParseKvFormat(o.kv_type).has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv-type is \"", o.kv_type, "\", expected f32, bf16 or int4"));
  }
  RETURN_IF_ERROR(Annotate(ParseInferenceDevice(o.device).status(),
                           absl::StrCat("--device is \"", o.device, "\"")));
  RETURN_IF_ERROR(CheckServerSecurity(o.security));
  RETURN_IF_ERROR(CheckServiceAddress("--listen", o.listen, o.security));
  if (!o.http_listen.empty())
    RETURN_IF_ERROR(CheckServiceAddress("--http-listen", o.http_listen, o.security));
  if (!o.metrics_listen.empty())
    RETURN_IF_ERROR(CheckMonitoringAddress("--metrics-listen", o.metrics_listen, o.security));
  RETURN_IF_ERROR(CheckRange("--threads", o.threads, 0, 1024));
  RETURN_IF_ERROR(CheckRange("--stream-layers", o.stream_layers, 1, 1024));
  RETURN_IF_ERROR(CheckRange("--max-queue", o.max_queue, 1, 1 << 20));
  RETURN_IF_ERROR(CheckRange("--max-batch", o.max_batch, 1, 4096));
  RETURN_IF_ERROR(CheckRange("--prefill-chunk", o.prefill_chunk, 1, 4096));
  RETURN_IF_ERROR(CheckRange("--decoding-chunk", o.decoding_chunk, 0, 4096));
  RETURN_IF_ERROR(CheckRange("--max-streams", o.max_streams, 1, 65536));
  RETURN_IF_ERROR(CheckTime("--time-limit", o.time_limit_seconds));
  RETURN_IF_ERROR(CheckTime("--idle-limit", o.idle_limit_seconds));
  if (!(o.grace_seconds >= 0 && o.grace_seconds <= 86400)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--grace is ", o.grace_seconds, ", allowed are 0 to 86400 seconds"));
  }
  if (kernel_name == nullptr) return absl::OkStatus();
  std::string kernels;
  for (const TernaryKernel* kernel : SupportedTernaryKernels()) {
    if (absl::string_view(kernel->name) == kernel_name) return absl::OkStatus();
    absl::StrAppend(&kernels, kernels.empty() ? "" : ", ", kernel->name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("TRITTER_KERNEL is \"", kernel_name, "\", this CPU runs: ", kernels));
}

std::string ReadyJson(const ReadyReport& report) {
  nlohmann::ordered_json json;
  json["address"] = report.address;
  if (!report.http_address.empty()) json["http_address"] = report.http_address;
  if (!report.metrics_address.empty()) json["metrics_address"] = report.metrics_address;
  json["models"] = report.models;
  json["kernel"] = report.kernel;
  json["pid"] = report.pid;
  return json.dump() + "\n";
}

}  // namespace tritter
