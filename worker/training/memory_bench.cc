// Trains a few steps of several shapes, each in a process of its own, and holds what the
// coordinator would ask for (model/memory.h) against the largest resident size that the system saw.
//   memory_bench                      a figure a shape: predicted / measured, and the parts
//   memory_bench --shapes a,b         those alone; `all` adds those that take longest
// A child's own form is `memory_bench --child NAME`: one number, bytes; of a group, each rank's.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "common/subprocess.h"
#include "coordinator/decide/memory.h"
#include "worker/collective.h"
#include "worker/training/trainer.h"

namespace tritter {
namespace {

struct Shape {
  const char* name;
  const char* preset;
  int64_t layers, vocab, length;  // 0: the preset's layers and vocabulary
  int64_t sequences, micro_batch;
  struct Switches {
    const char* precision = "fp32";
    const char* optimizer = "adamw";
    const char* moments = "fp32";
    int64_t recompute = 0;
    bool checkpoint = false, evaluation = false, raw = false;
    bool plain_weights = false, plain_activations = false, ternary_head = false, tied = false;
    const char* outer = nullptr;  // compression of sync outer, with momentum
    int64_t ranks = 1;
    bool shard = false;
  } with = {};
  bool slow = false;  // not of the test
};

constexpr Shape kShapes[] = {
    {"nano", "nano", 0, 0, 128, 16, 16},
    {"nano, 512 tokens", "nano", 0, 0, 512, 16, 16},
    {"nano, checkpoint and evaluation",
     "nano",
     0,
     0,
     128,
     16,
     4,
     {.checkpoint = true, .evaluation = true, .raw = true}},
    {"3M", "test", 0, 2048, 512, 8, 8},
    {"3M, 12 layers", "test", 12, 264, 256, 8, 8},
    {"3M, 12 layers, recomputed by 1", "test", 12, 264, 256, 8, 8, {.recompute = 1}},
    {"3M, 12 layers, recomputed by 4", "test", 12, 264, 512, 8, 8, {.recompute = 4}},
    {"3M, vocabulary 65536", "test", 0, 65536, 512, 2, 2, {.evaluation = true, .raw = true}},
    {"100M, 2 layers", "100M", 2, 1024, 1024, 2, 2},
    {"100M, 2 layers, micro-batches", "100M", 2, 1024, 512, 4, 1},
    {"100M, 2 layers, evaluation",
     "100M",
     2,
     1024,
     512,
     4,
     4,
     {.checkpoint = true, .evaluation = true, .raw = true}},
    {"100M, 2 layers, 8-bit moments", "100M", 2, 1024, 512, 1, 1, {.moments = "8bit"}},
    {"100M, 2 layers, Muon", "100M", 2, 1024, 256, 1, 1, {.optimizer = "muon"}},
    {"100M, 2 layers, sync outer",
     "100M",
     2,
     1024,
     512,
     1,
     1,
     {.checkpoint = true, .outer = "none"},
     true},
    {"100M, 2 layers, sync outer in 8 bits",
     "100M",
     2,
     1024,
     512,
     1,
     1,
     {.checkpoint = true, .outer = "int8"}},
    {"100M, 2 layers, 2 ranks", "100M", 2, 1024, 512, 1, 1, {.checkpoint = true, .ranks = 2}, true},
    {"100M, 2 layers, 2 ranks, sharded",
     "100M",
     2,
     1024,
     512,
     1,
     1,
     {.checkpoint = true, .ranks = 2, .shard = true}},
    {"100M, 2 layers, 2 ranks, sync outer",
     "100M",
     2,
     1024,
     512,
     1,
     1,
     {.checkpoint = true, .outer = "none", .ranks = 2},
     true},
    {"100M, 2 layers, 2 ranks, 4 x 512", "100M", 2, 1024, 512, 4, 4, {.ranks = 2}, true},
    {"100M, 2 layers, 2 ranks, sharded, 4 x 512",
     "100M",
     2,
     1024,
     512,
     4,
     4,
     {.ranks = 2, .shard = true},
     true},
    {"100M, 2 layers, BF16", "100M", 2, 1024, 512, 2, 2, {.precision = "bf16"}, true},
    {"100M, 4 layers, plain activations",
     "100M",
     4,
     1024,
     512,
     2,
     2,
     {.plain_activations = true},
     true},
    {"100M, 4 layers, plain weights", "100M", 4, 1024, 512, 2, 2, {.plain_weights = true}, true},
    {"100M, 4 layers, ternary head", "100M", 4, 32768, 512, 2, 1, {.ternary_head = true}, true},
    {"100M, 4 layers, tied", "100M", 4, 32768, 512, 2, 1, {.tied = true}, true},
    {"bitnet-2B, 1 layer", "bitnet-2B", 1, 1024, 256, 2, 2, {}, true},
    {"bitnet-2B, 2 layers, 8 sequences", "bitnet-2B", 2, 1024, 256, 8, 8, {}, true},
    {"100M, 512 tokens", "100M", 0, 0, 512, 1, 1, {}, true},
    {"100M, 8 x 512 tokens", "100M", 0, 0, 512, 8, 8, {}, true},
    {"100M, 8 x 512 tokens, BF16", "100M", 0, 0, 512, 8, 8, {.precision = "bf16"}, true},
    {"100M, 2 x 2048 tokens, accumulated", "100M", 0, 0, 2048, 2, 1, {}, true},
    {"100M, 8 x 512 tokens, recomputed by 1", "100M", 0, 0, 512, 8, 8, {.recompute = 1}, true},
    {"100M, 8 x 512 tokens, recomputed by 4", "100M", 0, 0, 512, 8, 8, {.recompute = 4}, true},
    {"125M, evaluation, 8-bit moments",
     "125M",
     0,
     0,
     512,
     4,
     2,
     {.moments = "8bit", .checkpoint = true, .evaluation = true, .raw = true},
     true},
    {"125M, Muon", "125M", 0, 0, 512, 2, 2, {.optimizer = "muon"}, true},
    {"350M, 1024 tokens", "350M", 0, 0, 1024, 1, 1, {}, true},
};

absl::StatusOr<RunSpec> SpecOf(const Shape& shape) {
  RunSpec spec;
  ASSIGN_OR_RETURN(spec.model, PresetConfig(shape.preset));
  ModelConfig& c = spec.model;
  if (shape.layers > 0) c.layers = shape.layers;
  if (shape.vocab > 0) c.vocab = shape.vocab;
  c.context = shape.length;
  const Shape::Switches& with = shape.with;
  if (with.plain_weights) c.weight_rule = WeightRule::kNone;
  if (with.plain_weights || with.plain_activations) c.activations = ActivationRule::kNone;
  c.lm_head_ternary = with.ternary_head;
  c.tied_embeddings = c.tied_embeddings || with.tied;
  spec.steps = spec.schedule.total_steps = 100;
  spec.sequence_length = shape.length;
  spec.global_batch = shape.sequences;
  spec.micro_batch = shape.micro_batch;
  spec.precision = with.precision;
  spec.optimizer = with.optimizer;
  spec.moments = with.moments;
  spec.activation_checkpointing = with.recompute;
  spec.evaluate_raw = with.raw;
  spec.ema_window = 100;
  spec.min_workers = spec.max_workers = with.ranks;
  spec.shard_optimizer = with.shard;
  if (with.outer != nullptr) {
    spec.sync = "outer";
    spec.outer_steps = 2;  // a round ends, and is followed by a step of the next
    spec.outer_momentum = 0.9;
    spec.outer_compression = with.outer;
  }
  return spec;
}

// Of the pages of programs and libraries so much counts: what a step touches. Beyond it the kernel
// maps neighbours that it has in its cache, 100 MB more right after LibTorch was installed, and
// takes them back when memory is short.
constexpr int64_t kProgramPages = 75'000'000;

// Largest resident size so far.
absl::StatusOr<int64_t> PeakBytes() {
  ASSIGN_OR_RETURN(const std::string status, Env::Real()->ReadFile("/proc/self/status"));
  const auto field = [&](absl::string_view name) -> absl::StatusOr<int64_t> {
    for (absl::string_view line : absl::StrSplit(status, '\n')) {
      int64_t kib = 0;
      if (absl::ConsumePrefix(&line, name) && absl::ConsumeSuffix(&line, " kB") &&
          absl::SimpleAtoi(line, &kib))
        return kib * 1024;
    }
    return absl::NotFoundError(absl::StrCat("/proc/self/status has no line ", name));
  };
  ASSIGN_OR_RETURN(const int64_t peak, field("VmHWM:"));
  ASSIGN_OR_RETURN(const int64_t program, field("RssFile:"));
  return peak - std::max<int64_t>(0, program - kProgramPages);
}

absl::Status TrainRank(const Shape& shape, const RunSpec& spec, Collective* collective) {
  Trainer::Options options;
  options.spec = spec;
  options.collective = collective;
  options.threads = 2;
  ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer, Trainer::Create(options));
  RETURN_IF_ERROR(trainer->InitialiseFresh());
  Batch batch;
  batch.sequences = shape.sequences;
  batch.weights.assign(shape.sequences * shape.length, 1.0f);
  for (int64_t i = 0; i < shape.sequences * (shape.length + 1); ++i)
    batch.tokens.push_back((i * 7919) % spec.model.vocab);
  const double weight_sum = static_cast<double>(shape.sequences * shape.length);
  std::unique_ptr<TrainerSnapshot> copy;
  for (int step = 0; step < 3; ++step) {
    RETURN_IF_ERROR(trainer->Step(batch, weight_sum, shape.micro_batch, 1e-4).status());
    if (step != 1) continue;
    for (const bool averaged : {true, false}) {
      if (!shape.with.evaluation || (!averaged && !shape.with.raw)) continue;
      bool given = false;
      const auto window = [&](std::vector<int64_t>* out) {
        out->assign(batch.tokens.begin(), batch.tokens.begin() + shape.length + 1);
        return !std::exchange(given, true);
      };
      RETURN_IF_ERROR(trainer->Evaluate(window, averaged).status());
    }
    if (shape.with.checkpoint) {
      ASSIGN_OR_RETURN(copy, trainer->Snapshot());
    }
  }
  return absl::OkStatus();
}

// A rank of a group that meets at `address`, or one alone.
struct Place {
  int rank = 0;
  std::string address;
};

absl::StatusOr<int64_t> Train(const Shape& shape, const Place& place) {
  ASSIGN_OR_RETURN(const RunSpec spec, SpecOf(shape));
  std::unique_ptr<Collective> group = SingleProcessCollective();
  if (!place.address.empty()) {
    ASSIGN_OR_RETURN(group,
                     ConnectCollective(place.address, nullptr, "bench", place.rank,
                                       static_cast<int>(shape.with.ranks), absl::Minutes(5)));
  }
  RETURN_IF_ERROR(TrainRank(shape, spec, group.get()));
  return PeakBytes();
}

// Of the rank that took most; each in a process of its own.
absl::StatusOr<int64_t> Measured(const std::string& self, const Shape& shape) {
  std::unique_ptr<Rendezvous> meeting;
  if (shape.with.ranks > 1) {
    ASSIGN_OR_RETURN(meeting, OpenRendezvous("127.0.0.1", static_cast<int>(shape.with.ranks)));
  }
  std::vector<std::unique_ptr<Subprocess>> children;
  for (int64_t rank = 0; rank < shape.with.ranks; ++rank) {
    SubprocessOptions options;
    options.argv = {self, "--child", shape.name};
    if (meeting != nullptr) {
      const std::string number = absl::StrCat(rank);
      options.argv.insert(options.argv.end(), {"--rank", number, "--address", meeting->address()});
    }
    options.output = SubprocessOptions::Output::kPipe;
    ASSIGN_OR_RETURN(children.emplace_back(), Subprocess::Start(options));
  }
  int64_t most = 0;
  for (const auto& child : children) {
    const std::optional<ExitStatus> status = child->Wait();
    const std::string output = child->ReadOutput();
    int64_t bytes = 0;
    if (!status.has_value() || !status->ok() || !absl::SimpleAtoi(output, &bytes))
      return absl::InternalError(absl::StrCat(shape.name, ": ", status->ToString(), ": ", output));
    most = std::max(most, bytes);
  }
  return most;
}

// Whether the prediction holds.
absl::StatusOr<bool> Compare(const std::string& self, const Shape& shape) {
  ASSIGN_OR_RETURN(const RunSpec spec, SpecOf(shape));
  TrainingOptions options = TrainingOptionsOf(spec, shape.micro_batch);
  if (!shape.with.evaluation) options.evaluated_weights = 0;
  const TrainingMemory m = TrainingMemoryOf(spec.model, options, shape.micro_batch, shape.length);
  ASSIGN_OR_RETURN(const int64_t measured, Measured(self, shape));
  const auto mb = [](int64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  const double ratio = mb(m.total()) / mb(measured);
  std::printf(
      "%s: predicted %.0f MB: process %.0f, weights %.0f, gradients %.0f, moments %.0f, averages "
      "%.0f, codes %.0f, sync outer %.0f, activations %.0f, workspace %.0f, checkpoint %.0f\n",
      shape.name, mb(m.total()), mb(m.process), mb(m.weights), mb(m.gradients), mb(m.moments),
      mb(m.averages), mb(m.codes), mb(m.outer), mb(m.activations), mb(m.workspace),
      mb(m.checkpoint));
  PrintFigure(
      {absl::StrCat("training memory, ", shape.name, ": predicted off by"),
       100 * std::abs(ratio - 1), "%",
       absl::StrFormat("measured peak %.0f MB, predicted %.0f MB", mb(measured), mb(m.total())),
       "<= 10"});
  std::fflush(stdout);
  return std::abs(ratio - 1) <= 0.1;
}

int Run(const std::string& self, const std::string& only) {
  const std::vector<std::string> wanted = absl::StrSplit(only, ';', absl::SkipEmpty());
  int failed = 0;
  for (const Shape& shape : kShapes) {
    const bool named = std::find(wanted.begin(), wanted.end(), shape.name) != wanted.end();
    if (only != "all" && !(wanted.empty() ? !shape.slow : named)) continue;
    const absl::StatusOr<bool> holds = Compare(self, shape);
    if (!holds.ok()) {
      std::fprintf(stderr, "%s\n", holds.status().ToString().c_str());
      return 1;
    }
    failed += *holds ? 0 : 1;
  }
  return failed > 0 ? 1 : 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  tritter::CommandLine app("Predicted and measured memory of training, shape by shape");
  std::string shapes, child;
  tritter::Place place;
  app.AddFlag("--shapes", &shapes,
              "names, with semicolons between, or all; default: those that take seconds");
  app.AddFlag("--child", &child, "train this shape and print the largest resident size");
  app.AddFlag("--rank", &place.rank, "of the child, in a group");
  app.AddFlag("--address", &place.address, "where the ranks of that group meet");
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;
  if (child.empty()) return tritter::Run(argv[0], shapes);
  for (const tritter::Shape& shape : tritter::kShapes) {
    if (child != shape.name) continue;
    const absl::StatusOr<int64_t> bytes = tritter::Train(shape, place);
    if (bytes.ok()) return std::printf("%ld\n", *bytes) > 0 ? 0 : 1;
    std::fprintf(stderr, "%s\n", bytes.status().ToString().c_str());
    return 1;
  }
  std::fprintf(stderr, "--child: no shape is called %s\n", child.c_str());
  return 2;
}
