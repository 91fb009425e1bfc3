// How much of a step is neither forward, backward, reduce nor optimiser: one worker's whole conduct
// of an epoch (plans, shards from page cache, reports) with a coordinator in memory.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/random.h"
#include "curation/shard_writer.h"
#include "worker/epoch_runner.h"
#include "worker/testing/fake_coordinator_link.h"
#include "worker/training_parts.h"

namespace tritter {
namespace {

constexpr int64_t kWarmUpSteps = 5;

struct Setting {
  std::string preset;
  int64_t sequence = 0, batch = 0, steps = 0;
};

absl::Status WriteShards(const std::string& folder, int64_t tokens) {
  ShardWriterOptions options;
  options.source = "random";
  options.tokenizer_hash = std::string(64, 'a');
  options.vocabulary = 264;
  absl::StatusOr<std::unique_ptr<ShardWriter>> writer =
      ShardWriter::Create(Env::Real(), folder, options);
  if (!writer.ok()) return writer.status();
  Philox random(1);
  for (int64_t written = 0; written < tokens;) {
    std::vector<int32_t> document(50 + random.Below(500));
    for (int32_t& id : document) id = static_cast<int32_t>(8 + random.Below(256));
    document.back() = 2;
    written += static_cast<int64_t>(document.size());
    DocumentToWrite entry;
    entry.tokens = document;
    entry.raw_bytes = document.size();
    if (absl::Status s = (*writer)->Add(Split::kTrain, entry); !s.ok()) return s;
  }
  return (*writer)->Finish({}, {}).status();
}

int Fail(absl::string_view what) {
  std::fprintf(stderr, "%s\n", std::string(what).c_str());
  return 1;
}

int Measure(const Setting& setting, const std::string& folder, int threads) {
  FakeCoordinatorLink::Script script;
  script.total_steps = script.plan_steps = setting.steps;
  script.global_batch = script.micro_batch = setting.batch;
  script.peak = 1e-3;
  FakeCoordinatorLink link(script);
  const auto parts = MakeTrainingParts({Env::Real(), "127.0.0.1", threads});
  EpochRunner::Options options;
  options.parts = parts.get();
  options.link = &link;
  options.env = Env::Real();
  options.clock = Clock::Real();
  options.assignment.id = {"bench", 1};
  options.assignment.run_dir = folder;
  options.assignment.spec_yaml = absl::StrCat(
      "name: bench\nmodel: {preset: ", setting.preset, ", vocab: 264}\n",
      "data: {sources: [{name: random, shards: ", JoinPath(folder, "shards"),
      ", max_epochs: 1000000}]}\ntraining: {steps: ", setting.steps,
      ", sequence_length: ", setting.sequence, ", global_batch: ", setting.batch, "}\n");
  const EpochOutcome outcome = EpochRunner(std::move(options)).Run();
  if (outcome.kind != EpochOutcome::Kind::kDone)
    return Fail(absl::StrCat(outcome.status.ToString(), " ", link.failure()));
  double step = 0, data = 0, other = 0;
  for (const StepReport& report : link.steps()) {
    if (report.step <= kWarmUpSteps) continue;
    step += report.step_seconds;
    data += report.data_seconds;
    other += report.other_seconds();
  }
  const double n = static_cast<double>(setting.steps - kWarmUpSteps);
  const std::string what =
      absl::StrCat(setting.preset, ", ", setting.sequence * setting.batch, " tokens a step");
  const std::string anchor = absl::StrFormat("step: %.1f ms", step / n * 1e3);
  PrintFigure({absl::StrCat(what, ": data wait"), data / step * 100, "%", anchor, "<= 0.5"});
  PrintFigure({absl::StrCat(what, ": outside forward, backward, reduce and optimiser"),
               other / step * 100, "%", anchor, "<= 2"});
  return 0;
}

int Run(const std::vector<Setting>& settings, const std::string& folder, int threads) {
  absl::Status status = Env::Real()->RemoveTree(folder);
  if (status.ok()) status = WriteShards(JoinPath(folder, "shards"), 4'000'000);
  if (!status.ok()) return Fail(status.ToString());
  int code = 0;
  for (const Setting& setting : settings) code = std::max(code, Measure(setting, folder, threads));
  status = Env::Real()->RemoveTree(folder);
  return status.ok() ? code : Fail(status.ToString());
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  tritter::CommandLine app{"Shares of data wait and of everything unaccounted for in a step"};
  std::string folder = "/tmp/tritter-step-overhead-bench";
  int threads = 2;
  int64_t nano_steps = 100, large_steps = 15;
  app.AddFlag("--dir", &folder, "scratch folder, removed before and after");
  app.AddFlag("--threads", &threads, "threads");
  app.AddFlag("--nano-steps", &nano_steps, "steps of nano, more than 5");
  app.AddFlag("--large-steps", &large_steps, "steps of preset 100M, more than 5; 0: none");
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;
  std::vector<tritter::Setting> settings = {{"nano", 128, 16, nano_steps}};
  if (large_steps > 0) settings.push_back({"100M", 128, 1, large_steps});
  return tritter::Run(settings, folder, threads);
}
