// Decoding with the weights of a model in half of their memory, held against plain sequential
// direct reads of the same file in the same run (`dd iflag=direct bs=16M`), and the memory it took
// against what was promised.
//   stream_bench [--model PATH] [--share 0.5] [--stream-layers 4] [--threads 2] [--steps 20]
// Without --model: random weights of the shape "1.1B", family bitnet (tied embeddings) with an INT8
// head, written into --folder once.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/direct_file.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/huge_buffer.h"
#include "common/status_macros.h"
#include "inference/forward.h"
#include "inference/streaming/load_model.h"
#include "model/tpack.h"
#include "tests/testing/random_model.h"

namespace tritter {
namespace {

struct BenchOptions {
  std::string model, folder = "/tmp";
  double share = 0.5;
  int64_t layers = 4, steps = 20;
  int threads = 2;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Bytes a second of reading the file once, 16 MiB after 16 MiB, as dd does.
absl::StatusOr<double> SequentialReads(const std::string& path) {
  constexpr size_t kBytes = size_t{16} << 20;
  ASSIGN_OR_RETURN(const std::unique_ptr<DirectFile> file, DirectFile::Open(path));
  ASSIGN_OR_RETURN(HugeBuffer buffer, HugeBuffer::Allocate(kBytes));
  const double begin = Now();
  for (uint64_t at = 0; at < file->bytes(); at += kBytes) {
    if (pread(file->descriptor(), buffer.data(), kBytes, static_cast<off_t>(at)) < 0)
      return absl::InternalError(absl::StrCat(path, ": read at offset ", at));
  }
  return static_cast<double>(file->bytes()) / (Now() - begin);
}

// A line of /proc/self/status, in bytes.
int64_t StatusBytes(absl::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    absl::string_view rest = line;
    int64_t kilobytes = 0;
    if (absl::ConsumePrefix(&rest, key) && absl::ConsumePrefix(&rest, ":") &&
        absl::ConsumeSuffix(&rest, " kB") && absl::SimpleAtoi(rest, &kilobytes))
      return kilobytes << 10;
  }
  return 0;
}

absl::StatusOr<std::string> ModelPath(const BenchOptions& options) {
  if (!options.model.empty()) return options.model;
  const std::string path = JoinPath(options.folder, "tritter_stream_bench.tpack");
  if (Env::Real()->Exists(path)) return path;
  std::fprintf(stderr, "writing %s\n", path.c_str());
  ASSIGN_OR_RETURN(ModelConfig config, RandomModelPreset("1.1B"));
  ApplyFamilyDefaults(Family::kBitnet, &config);
  ExportOptions form;
  form.head = "int8";
  RETURN_IF_ERROR(WriteRandomModel(Env::Real(), path, config, 1, form).status());
  return path;
}

class Decoder {
 public:
  Decoder(const PackedModel* model, int threads)
      : vocabulary_(model->config().vocab),
        pool_(threads),
        forward_(model, &BestTernaryKernel(), &pool_, KvFormat::kF32),
        pages_(forward_.layout().page_bytes, 1024) {}

  int64_t kv_bytes() const {
    return static_cast<int64_t>(tables_.size()) * KvPagesFor(depth_) * forward_.layout().page_bytes;
  }
  absl::Status Step(int64_t sequences) {
    tables_.resize(static_cast<size_t>(sequences));
    std::vector<ForwardRow> rows;
    for (std::vector<uint8_t*>& table : tables_) {
      const int64_t have = static_cast<int64_t>(table.size());
      if (const int64_t need = KvPagesFor(depth_ + 1); need > have)
        RETURN_IF_ERROR(pages_.Take(need - have, &table).status());
      const int64_t token = (depth_ * 7919 + static_cast<int64_t>(rows.size()) * 101) % vocabulary_;
      rows.push_back({static_cast<int32_t>(token), depth_, &table, true});
    }
    ++depth_;
    return forward_.Run(rows, [](int64_t, int64_t) {});
  }
  // Seconds of some steps, after two that are not counted.
  absl::StatusOr<double> Steps(int64_t sequences, int64_t count) {
    for (int i = 0; i < 2; ++i) RETURN_IF_ERROR(Step(sequences));
    const double begin = Now();
    for (int64_t i = 0; i < count; ++i) RETURN_IF_ERROR(Step(sequences));
    return Now() - begin;
  }

 private:
  const int64_t vocabulary_;
  ThreadPool pool_;
  ForwardPass forward_;
  KvPagePool pages_;
  std::vector<std::vector<uint8_t*>> tables_;
  int64_t depth_ = 0;
};

absl::Status Bench(const BenchOptions& options) {
  ASSIGN_OR_RETURN(const std::string path, ModelPath(options));
  ASSIGN_OR_RETURN(double sequential, SequentialReads(path));
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak counts from here
  const int64_t before = StatusBytes("VmRSS");
  ASSIGN_OR_RETURN(std::unique_ptr<TpackFile> file, TpackFile::Open(Env::Real(), path));
  const double whole = static_cast<double>(file->file_bytes());
  const StreamOptions streaming = {static_cast<int64_t>(whole * options.share), options.layers};
  ASSIGN_OR_RETURN(const LoadPlan plan, PlanLoad(*file, streaming));
  ASSIGN_OR_RETURN(const std::unique_ptr<PackedModel> model,
                   LoadModel(std::move(file), plan, BestTernaryKernel()));
  const double pass = static_cast<double>(model->layers().stats().bytes_per_pass);
  if (pass == 0) return absl::InvalidArgumentError("the model fits into its limit: lower --share");
  Decoder one(model.get(), options.threads), eight(model.get(), options.threads);
  ASSIGN_OR_RETURN(const double seconds, one.Steps(1, options.steps));
  ASSIGN_OR_RETURN(const double seconds_of_eight, eight.Steps(8, options.steps / 2));
  const int64_t peak = StatusBytes("VmHWM") - before;
  ASSIGN_OR_RETURN(const double again, SequentialReads(path));
  sequential = std::max(sequential, again);

  const double steps = static_cast<double>(options.steps);
  const std::string anchor =
      absl::StrCat(static_cast<int64_t>(sequential / 1e6), " MB/s of sequential direct reads");
  const std::string in = absl::StrCat(" with ", static_cast<int64_t>(100 * options.share),
                                      " % of the weights' memory, ", options.threads, " threads");
  PrintFigure({absl::StrCat("streamed decode", in), steps / seconds, "tokens/s",
               absl::StrCat(static_cast<int64_t>(pass / 1e6), " MB a token"), ""});
  PrintFigure({absl::StrCat("streamed decode, share of the disk's bandwidth", in),
               100 * pass * steps / seconds / sequential, "%", anchor, ">= 85"});
  PrintFigure({absl::StrCat("streamed decode at batch 8", in),
               8 * static_cast<double>(options.steps / 2) / seconds_of_eight, "tokens/s", "", ""});
  // Beside the weights: activations, threads, and what the allocator holds.
  const int64_t kv = one.kv_bytes() + eight.kv_bytes();
  PrintFigure({absl::StrCat("peak memory beyond promised weights and KV cache", in),
               static_cast<double>(peak - plan.weight_bytes - kv) / 1e6, "MB",
               absl::StrCat(plan.weight_bytes / 1000000, " + ", kv / 1000000, " MB promised of ",
                            static_cast<int64_t>(whole / 1e6), " MB"),
               "<= 150"});
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  BenchOptions options;
  CommandLine app("Decoding under a memory limit, held against the disk.");
  app.AddFlag("--model", &options.model, ".tpack; none: random weights of the 1.1B shape");
  app.AddFlag("--folder", &options.folder, "where those are written, on the disk to be measured");
  app.AddFlag("--share", &options.share, "of the file's bytes that weights may take in memory");
  app.AddFlag("--stream-layers", &options.layers, "layers of a group");
  app.AddFlag("--threads", &options.threads, "threads that compute");
  app.AddFlag("--steps", &options.steps, "tokens that are measured");
  if (const std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  if (const absl::Status status = Bench(options); !status.ok()) {
    std::fprintf(stderr, "stream_bench: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
