// Training speed and memory on a GPU, one line a figure (common/figure.h), held to the bars of an
// H200 where the device is one. Weights and tokens are random; the step is the whole optimiser
// step. FLOPs are those of the model: 6 for each matrix parameter and token, and 6·N·D·L for each
// layer and token of causal attention.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/random.h"
#include "model/devices.h"
#include "model/memory.h"
#include "model/run_spec.h"
#include "worker/cuda_loader.h"
#include "worker/training/formula/device_trainer.h"

namespace tritter {
namespace {

struct Flags {
  std::string presets = "350M,1B";
  int64_t length = 2048;
  int64_t tokens = 16384;  // of one pass
  int steps = 10;
};

// The maker's figure for BF16 of the device that `name` contains the name of; 0: not in the table.
double PeakOf(const std::string& name) {
  for (const std::string& known : DeviceNames()) {
    if (absl::StrContains(absl::AsciiStrToLower(name), absl::AsciiStrToLower(known)))
      return FindDevice(known)->bf16;
  }
  return 0;
}

struct Measured {
  double seconds = 0;  // median
  int64_t peak_bytes = 0;
};

absl::StatusOr<Measured> Measure(const RunSpec& spec, const CudaDevices& cuda, const Flags& flags) {
  const std::unique_ptr<Collective> alone = SingleProcessCollective();
  Trainer::Options options;
  options.spec = spec;
  options.collective = alone.get();
  TrainingDevice device;
  device.ordinal = 0;
  device.name = cuda.name;
  device.kernels = cuda.backend->kernels();
  device.bf16 = true;
  absl::StatusOr<std::unique_ptr<Trainer>> trainer = CreateDeviceTrainer(options, device);
  if (!trainer.ok()) return trainer.status();
  if (absl::Status fresh = (*trainer)->InitialiseFresh(); !fresh.ok()) return fresh;
  Batch batch;
  batch.sequences = spec.global_batch;
  Philox random(MixKey(1));
  for (int64_t i = 0; i < batch.sequences * (spec.sequence_length + 1); ++i)
    batch.tokens.push_back(static_cast<int64_t>(random.Below(spec.model.vocab)));
  batch.weights.assign(batch.sequences * spec.sequence_length, 1.0f);
  std::vector<double> seconds;
  cuda.backend->reset_peak(0);
  for (int step = 0; step < 3 + flags.steps; ++step) {
    const absl::StatusOr<StepStats> stats =
        (*trainer)->Step(batch, static_cast<double>(batch.weights.size()), batch.sequences, 1e-4);
    if (!stats.ok()) return stats.status();
    if (step >= 3) {
      seconds.push_back(stats->forward_seconds + stats->backward_seconds + stats->reduce_seconds +
                        stats->optimizer_seconds);
    }
  }
  std::sort(seconds.begin(), seconds.end());
  return Measured{seconds[seconds.size() / 2], cuda.backend->peak_bytes(0)};
}

absl::Status Run(const Flags& flags) {
  const CudaDevices& cuda = FindCudaDevices();
  if (cuda.count == 0)
    return absl::FailedPreconditionError(absl::StrCat("no GPU: ", cuda.why_none));
  const double peak = PeakOf(cuda.name);
  const bool h200 = absl::StrContains(cuda.name, "H200");
  std::printf("device %s\n", cuda.name.c_str());
  for (const std::string& preset : std::vector<std::string>(absl::StrSplit(flags.presets, ','))) {
    absl::StatusOr<ModelConfig> model = PresetConfig(preset);
    if (!model.ok()) return model.status();
    RunSpec spec;
    spec.name = "bench";
    spec.model = *model;
    spec.steps = 1000;
    spec.sequence_length = flags.length;
    spec.global_batch = std::max<int64_t>(1, flags.tokens / flags.length);
    spec.schedule = {1e-4, 1e-5, 10, 800, 1000, DecayShape::kCosine};
    const absl::StatusOr<Measured> quantised = Measure(spec, cuda, flags);
    if (!quantised.ok()) return quantised.status();
    const double tokens = static_cast<double>(spec.global_batch * spec.sequence_length);
    const ModelConfig& c = spec.model;
    const double flops =
        tokens * (6.0 * static_cast<double>(MatrixParameterCount(c)) +
                  6.0 * static_cast<double>(c.layers * c.heads * c.head_dim * flags.length));
    const auto print = [&](const char* what, double value, const char* unit, const char* anchor,
                           const char* bar) {
      PrintFigure({absl::StrCat("gpu ", preset, " ", what), value, unit, anchor, bar});
    };
    print("step", 1e3 * quantised->seconds, "ms", "", "");
    print("tokens", tokens / quantised->seconds, "tokens/s", "", "");
    print("model FLOPs", flops / quantised->seconds / 1e12, "TFLOP/s", "", "");
    if (peak > 0) {
      print("model FLOPs utilisation", 100 * flops / quantised->seconds / peak, "%",
            "the maker's figure for BF16", h200 ? ">= 40" : "");
    }
    TrainingOptions plan;
    plan.bf16_compute = plan.gpu = true;
    const double measured = static_cast<double>(quantised->peak_bytes),
                 planned = static_cast<double>(
                     TrainingMemoryOf(c, plan, spec.global_batch, spec.sequence_length).total());
    print("peak memory", measured / 1e9, "GB", "", "");
    print("planned memory apart from it", 100 * std::abs(planned / measured - 1), "%",
          "peak memory", "<= 10");
    RunSpec plain = spec;
    plain.model.weight_rule = WeightRule::kNone;
    const absl::StatusOr<Measured> unquantised = Measure(plain, cuda, flags);
    if (!unquantised.ok()) return unquantised.status();
    print("QAT step", quantised->seconds / unquantised->seconds, "x",
          "the same network without quantisation", h200 ? "<= 1.05" : "");
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CommandLine app("Training speed and memory on the first GPU.");
  Flags flags;
  app.AddFlag("--presets", &flags.presets, "comma-separated names of presets");
  app.AddFlag("--length", &flags.length, "tokens of a sequence");
  app.AddFlag("--tokens", &flags.tokens, "tokens of a step");
  app.AddFlag("--steps", &flags.steps, "steps that are timed");
  if (std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  if (absl::Status status = Run(flags); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
