// What a checkpoint costs: how long training stands still against one plain copy of the same bytes,
// and how fast the share is written and hashed against a plain write with fsync. Example:
//   checkpoint_bench --preset 100M --layers 4 --folder /data --threads 2
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "model/config.h"
#include "model/folder_checkpoint_store.h"
#include "model/run_spec.h"
#include "worker/training/copy_pool.h"
#include "worker/training/initialise.h"
#include "worker/training/optimizer_state.h"
#include "worker/training/parallel.h"
#include "worker/training/parameter_store.h"
#include "worker/training/state_share.h"

namespace tritter {
namespace {

struct Options {
  std::string preset = "100M", folder = "/tmp";
  int64_t layers = 4, vocab = 8192;
  int threads = 2, repeats = 5;
};

template <typename Act>
double Seconds(const Act& act) {
  const absl::Duration start = Clock::Real()->Monotonic();
  act();
  return absl::ToDoubleSeconds(Clock::Real()->Monotonic() - start);
}

// As `dd bs=4M conv=fsync` does it.
absl::Status PlainWrite(const std::string& path, const FloatBuffer& buffer) {
  constexpr size_t kBlock = 4 << 20;
  const absl::string_view bytes(reinterpret_cast<const char*>(buffer.data()),
                                buffer.size() * sizeof(float));
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, Env::Real()->NewWritableFile(path));
  for (size_t at = 0; at < bytes.size(); at += kBlock)
    RETURN_IF_ERROR(file->Append(bytes.substr(at, kBlock)));
  RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

RunSpec SpecOf(const ModelConfig& config) {
  RunSpec spec;
  spec.model = config;
  return spec;
}

class Bench {
 public:
  Bench(const Options& options, const ModelConfig& config)
      : options_(options),
        parallel_(options.threads),
        parameters_(config),
        state_(SpecOf(config), parameters_),
        bytes_(ShareBytes(parameters_, state_, 0, 1)) {
    InitialiseParameters(/*seed=*/1, config, &parameters_);
    state_.Reset(parameters_);
  }

  absl::Status Run() {
    Copy();
    return Write();
  }

 private:
  void Copy() {
    pool_.Reserve(bytes_);
    const FloatBuffer from(bytes_ / 4);
    FloatBuffer to(bytes_ / 4);
    std::vector<double> plain, stall;
    for (int i = 0; i < options_.repeats; ++i) {
      plain.push_back(Seconds([&] {
        parallel_.Run(bytes_ / 64, [&](int, int64_t first, int64_t end) {
          std::memcpy(to.data() + first * 16, from.data() + first * 16, (end - first) * 64);
        });
      }));
      std::unique_ptr<TrainerSnapshot> snapshot;
      stall.push_back(
          Seconds([&] { snapshot = CopyState(parameters_, state_, i, 0, 1, &pool_, &parallel_); }));
    }
    const std::string state = absl::StrFormat("checkpoint, state of %.0f MB", bytes_ / 1e6);
    PrintFigure({state + ": training stalled", Median(stall) / Median(plain), "x",
                 absl::StrFormat("one copy, %d threads: %.1f ms (%.1f GB/s); first stall %.1f ms",
                                 options_.threads, 1e3 * Median(plain),
                                 bytes_ / Median(plain) / 1e9, 1e3 * stall[0]),
                 "<= 1.2"});
  }

  absl::Status Write() {
    const std::string run_dir = JoinPath(options_.folder, "checkpoint_bench");
    const std::string plain_path = JoinPath(run_dir, "plain");
    const std::unique_ptr<CheckpointStore> store = CheckpointsOfRun(Env::Real(), run_dir);
    RETURN_IF_ERROR(store->Create());
    const std::unique_ptr<TrainerSnapshot> snapshot =
        CopyState(parameters_, state_, 0, 0, 1, &pool_, &parallel_);
    FloatBuffer plain_bytes(bytes_ / 4);
    std::memcpy(plain_bytes.data(), parameters_.weight(), parameters_.size() * sizeof(float));
    std::vector<double> plain, share;
    absl::Status status;
    for (int i = 0; i < options_.repeats && status.ok(); ++i) {
      plain.push_back(Seconds([&] { status = PlainWrite(plain_path, plain_bytes); }));
      if (!status.ok()) break;
      RETURN_IF_ERROR(Env::Real()->RemoveFile(plain_path));
      share.push_back(Seconds([&] {
        status = store->Create();
        if (status.ok()) status = store->Begin({1, "bench"});
        if (status.ok()) status = snapshot->WriteShare(store.get(), {1, "bench"}).status();
      }));
      RETURN_IF_ERROR(store->CleanUp("").status());
    }
    RETURN_IF_ERROR(Env::Real()->RemoveTree(run_dir));
    RETURN_IF_ERROR(status);
    PrintFigure({absl::StrFormat("checkpoint, state of %.0f MB: write and hash", bytes_ / 1e6),
                 Median(plain) / Median(share), "x",
                 absl::StrFormat("plain write and fsync: %.0f MB/s", bytes_ / Median(plain) / 1e6),
                 ">= 0.8"});
    return absl::OkStatus();
  }

  const Options options_;
  ParallelRows parallel_;
  ParameterStore parameters_;
  OptimizerState state_;
  CopyPool pool_;
  const int64_t bytes_;
};

absl::Status Main(const Options& options) {
  ASSIGN_OR_RETURN(ModelConfig config, PresetConfig(options.preset));
  config.layers = options.layers;
  config.vocab = options.vocab;
  return Bench(options, config).Run();
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  tritter::Options options;
  tritter::CommandLine app{"What a checkpoint costs against a plain copy and a plain write"};
  app.AddFlag("--preset", &options.preset, "network whose training state is copied and written");
  app.AddFlag("--layers", &options.layers, "in place of the preset's");
  app.AddFlag("--vocab", &options.vocab, "in place of the preset's");
  app.AddFlag("--folder", &options.folder, "where it is written");
  app.AddFlag("--threads", &options.threads, "of the copy").Between(1, 256);
  app.AddFlag("--repeats", &options.repeats, "medians are of so many").Between(1, 1000);
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;
  if (absl::Status status = tritter::Main(options); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
