// Tokens a second of the engine on one model, held against what the machine's memory and integer
// units give in the same minutes.
//   engine_bench [--model PATH] [--threads 2] [--only decode,prefill,batch,depth,clients]
// Without --model: random weights of the shape "1.1B" (22 layers, 2048/5632, 32 heads, 4 KV heads,
// vocabulary 32000).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "inference/engine.h"
#include "kernels/machine_peaks.h"
#include "model/serving/open_model.h"
#include "tests/testing/memory_tpack.h"
#include "tests/testing/random_model.h"

namespace tritter {
namespace {

struct BenchOptions {
  std::string model;
  int threads = 2;
  std::string only;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

absl::StatusOr<std::unique_ptr<PackedModelFile>> OpenBenchModel(const std::string& path) {
  if (!path.empty()) return OpenModel(Env::Real(), path);
  ASSIGN_OR_RETURN(const ModelConfig config, RandomModelPreset("1.1B"));
  return MemoryTpack::Random(config, 1);
}

// The bare forward pass: no scheduler, no sampler.
class Bare {
 public:
  Bare(const PackedModel* model, int threads, KvFormat format = KvFormat::kF32)
      : model_(model),
        pool_(threads),
        forward_(model, &BestTernaryKernel(), &pool_, format),
        pages_(forward_.layout().page_bytes, 4096) {}

  // Seconds of one step of `sequences` sequences, each with `rows` new positions at `depth`.
  double Step(int64_t sequences, int64_t rows, int64_t depth) {
    while (static_cast<int64_t>(tables_.size()) < sequences) tables_.emplace_back();
    std::vector<ForwardRow> batch;
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t have = static_cast<int64_t>(tables_[s].size());
      if (const int64_t need = KvPagesFor(depth + rows); need > have)
        (void)*pages_.Take(need - have, &tables_[s]);
      for (int64_t r = 0; r < rows; ++r) {
        const int32_t token =
            static_cast<int32_t>((s * 7919 + (depth + r) * 104729) % model_->config().vocab);
        batch.push_back({token, depth + r, &tables_[s], r + 1 == rows});
      }
    }
    const double start = Now();
    forward_.Run(batch, [](int64_t, int64_t) {}).IgnoreError();  // weights that are in memory
    return Now() - start;
  }
  // Median seconds of a step.
  double Steps(int64_t sequences, int64_t rows, int64_t depth, int steps) {
    std::vector<double> seconds;
    for (int i = 0; i < steps; ++i) seconds.push_back(Step(sequences, rows, depth + i % 8));
    return Median(std::move(seconds));
  }

 private:
  const PackedModel* const model_;
  ThreadPool pool_;
  ForwardPass forward_;
  KvPagePool pages_;
  std::vector<std::vector<uint8_t*>> tables_;
};

// Bytes of weights that one decode step reads, and int8 operations of one token.
int64_t TernaryWeights(const ModelConfig& c) {
  int64_t sum = 0;
  for (const ParameterSpec& p : ParameterTable(c)) {
    if (p.kind == ParameterKind::kTernary) sum += p.shape[0] * p.shape[1];
  }
  return sum;
}

// What is compared is measured in turns, a round of each at a time, and the median of the rounds'
// ratios is printed: the speed of a shared machine changes from one second to the next.
void BenchBare(const PackedModel& model, int threads, const BenchOptions& options) {
  const auto wanted = [&](const char* what) {
    return options.only.empty() || absl::StrContains(options.only, what);
  };
  const ModelConfig& c = model.config();
  const std::string on = absl::StrCat(", ", threads, threads == 1 ? " thread" : " threads");
  const double weights = static_cast<double>(TernaryWeights(c));
  if (wanted("decode")) {
    const double bytes = weights / 4 + static_cast<double>(model.head().bytes());
    Bare bare(&model, threads);
    MemoryReader reader(threads);
    std::vector<double> seconds, bandwidths, shares;
    for (int round = 0; round < 15; ++round) {
      seconds.push_back(bare.Steps(1, 1, 16, 8));
      bandwidths.push_back(reader.Pass());
      shares.push_back(bytes / seconds.back() / bandwidths.back());
    }
    const double bandwidth = Median(bandwidths);
    PrintFigure({absl::StrCat("decode", on), 1 / Median(seconds), "tokens/s",
                 absl::StrCat(static_cast<int64_t>(bandwidth / bytes), " if only memory counted"),
                 threads == 2 ? ">= 200" : ""});
    PrintFigure({absl::StrCat("decode, share of DRAM read bandwidth", on), 100 * Median(shares),
                 "%", absl::StrCat(static_cast<int64_t>(bandwidth / 1e9), " GB/s"),
                 threads == 2 ? ">= 70" : ""});
  }
  if (wanted("prefill")) {
    Bare bare(&model, threads);
    std::vector<double> seconds, peaks, shares;
    for (int round = 0; round < 7; ++round) {
      seconds.push_back(bare.Step(1, 512, 0));
      peaks.push_back(Int8Peak(threads));
      shares.push_back(2 * weights * 512 / seconds.back() / peaks.back());
    }
    PrintFigure({absl::StrCat("prefill 512", on), 512 / Median(seconds), "tokens/s", "",
                 threads == 2 ? ">= 800" : ""});
    PrintFigure({absl::StrCat("prefill 512, share of the int8 peak", on), 100 * Median(shares), "%",
                 absl::StrCat(static_cast<int64_t>(Median(peaks) / 1e9), " GOP/s"),
                 threads == 2 ? ">= 70" : ""});
  }
  if (wanted("batch")) {
    Bare bare(&model, threads);
    for (const int64_t batch : {2, 4, 8, 16}) {
      const double seconds = bare.Steps(batch, 1, 16, 30);
      PrintFigure({absl::StrCat("decode at batch ", batch, on),
                   static_cast<double>(batch) / seconds, "tokens/s", "",
                   threads == 2 && batch == 8 ? ">= 500" : ""});
    }
  }
  if (wanted("depth")) {
    Bare f32(&model, threads, KvFormat::kF32), bf16(&model, threads, KvFormat::kBf16),
        int4(&model, threads, KvFormat::kInt4);
    for (int64_t at = 0; at < 2048; at += 512) {
      for (Bare* bare : {&f32, &bf16, &int4}) bare->Step(1, 512, at);
    }
    std::vector<double> of_f32, of_bf16, of_int4, int4_to_bf16;
    for (int round = 0; round < 15; ++round) {
      const double shallow = int4.Steps(1, 1, 16, 4), deep = int4.Steps(1, 1, 2040, 4),
                   deep_bf16 = bf16.Steps(1, 1, 2040, 4);
      of_f32.push_back(shallow / f32.Steps(1, 1, 2040, 4));
      of_bf16.push_back(shallow / deep_bf16);
      of_int4.push_back(shallow / deep);
      int4_to_bf16.push_back(deep_bf16 / deep);
    }
    const std::string what = "decode at depth 2048 against depth 16, KV ";
    PrintFigure({absl::StrCat(what, "FP32", on), Median(of_f32), "x", "", ""});
    PrintFigure({absl::StrCat(what, "BF16", on), Median(of_bf16), "x", "", ""});
    PrintFigure(
        {absl::StrCat(what, "INT4", on), Median(of_int4), "x", "", threads == 2 ? ">= 0.85" : ""});
    PrintFigure({absl::StrCat("decode at depth 2048, KV INT4 against BF16", on),
                 Median(int4_to_bf16), "x", "", threads == 2 ? ">= 1" : ""});
  }
}

// Four clients, each with a prompt of its own at a time, one after the other.
absl::Status BenchClients(int threads, const BenchOptions& options) {
  constexpr int kClients = 4, kRequests = 6, kPrompt = 128, kGenerated = 48;
  ASSIGN_OR_RETURN(std::unique_ptr<PackedModelFile> file, OpenBenchModel(options.model));
  EngineOptions engine_options;
  engine_options.threads = threads;
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   Engine::Create(std::move(file), engine_options));
  const auto run = [&](int seed, std::vector<double>* gaps) {
    GenerateParams params;
    for (int i = 0; i < kPrompt; ++i) params.prompt.push_back((seed * 7919 + i * 31) % 250 + 8);
    params.max_tokens = kGenerated;
    params.ignore_eos = true;
    const double start = Now();
    auto generation = engine->Generate(std::move(params));
    double first = 0, last = start;
    for (GenerateEvent event; event.finish == FinishReason::kNone;) {
      if (!(*generation)->Next(absl::Seconds(10), &event) || event.tokens.empty()) continue;
      const double now = Now();
      if (first == 0) {
        first = now - start;
      } else if (gaps != nullptr) {
        for (size_t i = 0; i < event.tokens.size(); ++i)
          gaps->push_back((now - last) / static_cast<double>(event.tokens.size()));
      }
      last = now;
    }
    return first;
  };
  run(0, nullptr);
  std::vector<double> firsts;
  for (int i = 1; i < 6; ++i) firsts.push_back(run(i, nullptr));
  PrintFigure({absl::StrCat("time to first token of 128, 1 client, ", threads, " threads"),
               Median(std::move(firsts)), "s", "", "<= 0.2"});
  std::vector<std::vector<double>> gaps(kClients);
  const double start = Now();
  std::vector<std::thread> clients;
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&, c] {
      for (int r = 0; r < kRequests; ++r) run(100 + c * kRequests + r, &gaps[c]);
    });
  }
  for (std::thread& t : clients) t.join();
  const double seconds = Now() - start;
  std::vector<double> all;
  for (const auto& g : gaps) all.insert(all.end(), g.begin(), g.end());
  std::sort(all.begin(), all.end());
  PrintFigure({absl::StrCat("4 clients, 128 + 48 tokens, ", threads, " threads"),
               kClients * kRequests * kGenerated / seconds, "generated tokens/s", "", ">= 160"});
  PrintFigure({absl::StrCat("4 clients, inter-token p95, ", threads, " threads"),
               1e3 * all[all.size() * 95 / 100], "ms", "", "<= 15"});
  return absl::OkStatus();
}

absl::Status Bench(const BenchOptions& options) {
  const bool clients = options.only.empty() || absl::StrContains(options.only, "clients");
  if (options.only != "clients") {
    ASSIGN_OR_RETURN(std::unique_ptr<PackedModelFile> file, OpenBenchModel(options.model));
    ASSIGN_OR_RETURN(const std::unique_ptr<PackedModel> model,
                     PackedModel::Load(std::move(file), BestTernaryKernel()));
    for (const int threads : std::set<int>{1, options.threads}) {
      BenchBare(*model, threads, options);
      std::fflush(stdout);
    }
  }
  return clients ? BenchClients(options.threads, options) : absl::OkStatus();
}

int Main(int argc, char** argv) {
  BenchOptions options;
  CommandLine app("Tokens a second of the engine, held against the machine's limits.");
  app.AddFlag("--model", &options.model,
              "model in any form that is served; none: random weights of the 1.1B shape");
  app.AddFlag("--threads", &options.threads, "up to this many: one, then all of them");
  app.AddFlag("--only", &options.only,
              "of decode, prefill, batch, depth, clients: these, with commas");
  if (const std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  if (const absl::Status status = Bench(options); !status.ok()) {
    std::fprintf(stderr, "engine_bench: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
