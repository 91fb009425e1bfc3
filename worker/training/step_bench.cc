// Whole training steps on random tokens: speed of two shapes, quantised against plain, one worker
// against two. Every comparison is made in one run; those within a process take turns.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/random.h"
#include "kernels/gemm.h"
#include "worker/collective.h"
#include "worker/training/trainer.h"

namespace tritter {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Shape {
  std::string name, preset;
  int64_t vocab = 0, sequence = 0, batch = 0;
};

RunSpec SpecOf(const Shape& shape, bool quantised) {
  RunSpec spec;
  spec.model = *PresetConfig(shape.preset);
  spec.model.vocab = shape.vocab;
  spec.steps = 1000;
  spec.sequence_length = shape.sequence;
  spec.global_batch = shape.batch;
  spec.schedule = {1e-3, 1e-4, 10, 800, 1000, DecayShape::kCosine};
  if (!quantised) {
    spec.model.weight_rule = WeightRule::kNone;
    spec.model.activations = ActivationRule::kNone;
  }
  return spec;
}

// GPT-2's small shape with a gated FFN of 2048 and tied embeddings.
RunSpec Gpt2Spec(const Shape& shape) {
  RunSpec spec = SpecOf(shape, true);
  spec.model.tied_embeddings = true;
  return spec;
}

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

std::unique_ptr<Trainer> MakeTrainer(const RunSpec& spec, Collective* collective, int threads) {
  Trainer::Options options;
  options.spec = spec;
  options.collective = collective;
  options.threads = threads;
  absl::StatusOr<std::unique_ptr<Trainer>> trainer = Trainer::Create(options);
  if (!trainer.ok()) Die(trainer.status());
  if (const absl::Status fresh = (*trainer)->InitialiseFresh(); !fresh.ok()) Die(fresh);
  return *std::move(trainer);
}

Batch RandomBatch(const RunSpec& spec, int64_t sequences, uint64_t seed) {
  Batch batch;
  batch.sequences = sequences;
  Philox random(seed);
  for (int64_t i = 0; i < sequences * (spec.sequence_length + 1); ++i)
    batch.tokens.push_back(static_cast<int64_t>(random.Below(spec.model.vocab)));
  batch.weights.assign(sequences * spec.sequence_length, 1.0f);
  return batch;
}

// Seconds of one step.
double TimeStep(Trainer* trainer, const RunSpec& spec, const Batch& batch, int64_t micro_batch) {
  const double start = Now();
  const absl::StatusOr<StepStats> stats = trainer->Step(
      batch, static_cast<double>(spec.global_batch * spec.sequence_length), micro_batch, 1e-4);
  if (!stats.ok()) Die(stats.status());
  return Now() - start;
}

double MedianStep(Trainer* trainer, const RunSpec& spec, int steps) {
  const Batch batch = RandomBatch(spec, spec.global_batch, 1);
  std::vector<double> seconds;
  for (int i = 0; i <= steps; ++i)
    seconds.push_back(TimeStep(trainer, spec, batch, spec.global_batch));
  std::sort(seconds.begin() + 1, seconds.end());  // the first one warms up
  return seconds[1 + steps / 2];
}

// Of a product of 2048 x 2048 x 2048 in the type that training takes here.
double PeakGflops(int threads) {
  const at::ScalarType type = HasBf16Gemm() ? at::kBFloat16 : at::kFloat;
  at::set_num_threads(threads);
  const at::Tensor a = at::randn({2048, 2048}).to(type), b = at::randn({2048, 2048}).to(type);
  double best = 1e30;
  for (int i = 0; i < 6; ++i) {
    const double start = Now();
    const at::Tensor c = at::mm(a, b);
    best = std::min(best, Now() - start);
  }
  at::set_num_threads(1);  // as the trainers leave it: their own threads are all there are
  return 2.0 * 2048 * 2048 * 2048 / best / 1e9;
}

void BenchNano(int threads) {
  const RunSpec spec = SpecOf({"nano", "nano", 264, 128, 16}, true);
  const auto alone = SingleProcessCollective();
  const auto trainer = MakeTrainer(spec, alone.get(), threads);
  PrintFigure({absl::StrCat("nano, V 264, 2048 tokens a step, ", threads, " threads"),
               MedianStep(trainer.get(), spec, 30) * 1e3, "ms a step", trainer->description(),
               "<= 50"});
}

void BenchGpt2(int threads, int steps) {
  const RunSpec spec = Gpt2Spec({"GPT-2 124M", "100M", 50304, 1024, 2});
  const auto alone = SingleProcessCollective();
  const auto trainer = MakeTrainer(spec, alone.get(), threads);
  const double tokens_per_second = static_cast<double>(spec.global_batch * spec.sequence_length) /
                                   MedianStep(trainer.get(), spec, steps);
  PrintFigure({absl::StrCat("GPT-2 124M shape with QAT, L 1024, ", threads, " threads"),
               tokens_per_second, "tokens/s", trainer->description(), ">= 600"});
  // 6 operations for every parameter of a product; attention on top: 12 layers, causal half.
  const double operations =
      6.0 * static_cast<double>(MatrixParameterCount(spec.model)) + 6.0 * 12 * 1024 * 768;
  const double peak = PeakGflops(threads);
  PrintFigure({"GPT-2 124M shape: share of the peak of plain products",
               100 * tokens_per_second * operations / 1e9 / peak, "%",
               absl::StrCat(HasBf16Gemm() ? "BF16 " : "FP32 ", static_cast<int>(peak), " GFLOP/s"),
               ">= 50"});
}

void BenchQuantisation(int threads, int steps) {
  const Shape shape = {"125M", "125M", 65536, 512, 1};
  const RunSpec specs[] = {SpecOf(shape, true), SpecOf(shape, false)};
  const auto alone = SingleProcessCollective();
  std::unique_ptr<Trainer> trainers[2];
  double best[2] = {1e30, 1e30};
  for (int i = 0; i < 2; ++i) trainers[i] = MakeTrainer(specs[i], alone.get(), threads);
  const Batch batch = RandomBatch(specs[0], 1, 1);
  for (int step = 0; step <= steps; ++step) {
    for (int i = 0; i < 2; ++i) {
      const double seconds = TimeStep(trainers[i].get(), specs[i], batch, 1);
      if (step > 0) best[i] = std::min(best[i], seconds);
    }
  }
  PrintFigure({absl::StrCat("125M, QAT step, 512 tokens, ", threads, " threads"), best[0] / best[1],
               "x", absl::StrCat("plain step: ", static_cast<int>(best[1] * 1e3), " ms"),
               "<= 1.05"});
}

// One rank of `world`, single-threaded; prints its median step on `out`.
void RunRank(const RunSpec& spec, int rank, int world, const std::string& address, Rendezvous* own,
             int steps, int64_t micro_batch, int out) {
  std::unique_ptr<Collective> collective;
  if (world == 1) {
    collective = SingleProcessCollective();
  } else {
    auto connected =
        ConnectCollective(address, own, "bench", rank, world, absl::Seconds(120), "127.0.0.1");
    if (!connected.ok()) Die(connected.status());
    collective = *std::move(connected);
  }
  const auto trainer = MakeTrainer(spec, collective.get(), 1);
  const Batch batch = RandomBatch(spec, spec.global_batch / world, rank + 1);
  std::vector<double> seconds;
  for (int i = 0; i <= steps; ++i)
    seconds.push_back(TimeStep(trainer.get(), spec, batch, micro_batch));
  std::sort(seconds.begin() + 1, seconds.end());
  const double median = seconds[1 + steps / 2];
  if (rank == 0 && write(out, &median, sizeof(median)) != sizeof(median)) std::exit(1);
}

// In processes of their own, as workers are.
double MedianOfWorkers(const RunSpec& spec, int world, int steps, int64_t micro_batch) {
  int result[2], address[2];
  if (pipe(result) != 0 || pipe(address) != 0) Die(absl::InternalError("pipe"));
  std::vector<pid_t> children;
  for (int rank = 0; rank < world; ++rank) {
    const pid_t pid = fork();
    if (pid == 0) {
      std::unique_ptr<Rendezvous> own;
      char text[256] = {};
      if (world > 1 && rank == 0) {
        own = *OpenRendezvous("127.0.0.1", world);
        own->address().copy(text, sizeof(text) - 1);
        if (write(address[1], text, sizeof(text)) != sizeof(text)) std::exit(1);
      } else if (world > 1) {
        if (read(address[0], text, sizeof(text)) != sizeof(text)) std::exit(1);
      }
      RunRank(spec, rank, world, own != nullptr ? own->address() : text, own.get(), steps,
              micro_batch, result[1]);
      std::_Exit(0);
    }
    children.push_back(pid);
  }
  double median = 0;
  close(result[1]);
  const bool answered = read(result[0], &median, sizeof(median)) == sizeof(median);
  for (pid_t child : children) waitpid(child, nullptr, 0);
  for (int fd : {result[0], address[0], address[1]}) close(fd);
  if (!answered) Die(absl::InternalError("a worker ended without an answer"));
  return median;
}

void BenchWorkers(const Shape& shape, int steps, int64_t micro_batch) {
  const RunSpec spec = SpecOf(shape, true);
  const double one = MedianOfWorkers(spec, 1, steps, micro_batch),
               two = MedianOfWorkers(spec, 2, steps, micro_batch);
  PrintFigure({absl::StrCat("two workers of one thread, ", shape.name, ", ",
                            shape.batch * shape.sequence, " tokens a step"),
               one / two, "x", absl::StrCat("one worker: ", static_cast<int>(one * 1e3), " ms"),
               ">= 1.8"});
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  std::string what = "all";
  int threads = 2, steps = 4;
  tritter::CommandLine app{"Times whole training steps"};
  app.AddFlag("--what", &what, "part of the measurements")
      .OneOf({"all", "nano", "gpt2", "qat", "workers"});
  app.AddFlag("--threads", &threads, "threads");
  app.AddFlag("--steps", &steps, "timed steps of the large shapes");
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;
  const auto chosen = [&](const char* part) { return what == "all" || what == part; };
  // First the parts that fork: LibTorch's threads do not survive it.
  if (chosen("workers")) {
    tritter::BenchWorkers({"nano", "nano", 264, 128, 64}, 10, 16);
    tritter::BenchWorkers({"125M", "125M", 65536, 512, 16}, std::max(1, steps / 2), 2);
  }
  if (chosen("nano")) tritter::BenchNano(threads);
  if (chosen("gpt2")) tritter::BenchGpt2(threads, steps);
  if (chosen("qat")) tritter::BenchQuantisation(threads, steps);
}
