// What runs that have ended cost a coordinator: the time until it has started, and the memory it
// then has.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/store/sqlite_store.h"
#include "model/run_spec.h"
#include "proto/event_kinds.h"
#include "tests/load/process_use.h"

namespace tritter::load {
namespace {

constexpr int64_t kSteps = 600;

// As a run leaves them: what it was, a curve, evaluations, checkpoints, an export, events.
WriteBatch EndedRun(int64_t index, const std::string& folder, const std::string& yaml) {
  const std::string id = absl::StrCat("r-", index);
  WriteBatch out;
  RunRecord& r = out.runs.emplace_back();
  r.run_id = id;
  r.name = absl::StrCat("run-", index);
  r.state = v1::RUN_STATE_COMPLETED;
  r.reason = absl::StrCat("trained ", kSteps, " steps");
  r.spec_yaml = yaml;
  r.run_dir = absl::StrCat(folder, "/runs/", id);
  r.total_steps = r.step = r.best_step = kSteps;
  r.epoch = 1;
  r.created_ms = r.started_ms = r.finished_ms = 1000 + index;
  EpochRecord& e = out.epochs.emplace_back();
  e.run_id = id;
  e.epoch = 1;
  e.live = false;
  e.end_step = kSteps;
  for (int w = 0; w < 4; ++w) e.members.push_back({absl::StrCat("worker-", w), 7, "cpu", 1 << 30});
  for (int64_t step = 1; step <= kSteps; ++step) {
    v1::StepMetrics& m = out.metrics.emplace_back(MetricRecord{id, {}}).metrics;
    m.set_step(step);
    m.set_epoch(1);
    m.set_loss(2.5);
    m.set_grad_norm(0.7);
    m.set_step_seconds(0.5);
    m.set_tokens(2048);
    m.set_time_ms(1000 + step);
    if (step % 50 != 0) continue;
    for (const char* weights : {"averaged", "raw"}) {
      v1::EvaluationPoint& p = out.evaluations.emplace_back(EvaluationRecord{id, 1, {}}).point;
      p.set_step(step);
      p.set_source("text");
      p.set_weights(weights);
      p.set_loss(2.5);
    }
  }
  for (const int64_t step : {kSteps - 100, kSteps - 50, kSteps}) {
    v1::Checkpoint& c = out.checkpoints.emplace_back(CheckpointRecord{id, {}}).checkpoint;
    c.set_step(step);
    c.set_epoch(1);
    c.set_path(absl::StrCat(r.run_dir, "/checkpoints/step-", step));
    c.set_manifest_sha256(std::string(64, 'a'));
    c.set_bytes(1 << 20);
  }
  v1::Artifact& a = out.artifacts.emplace_back(ArtifactRecord{id, {}}).artifact;
  a.set_kind("tpack");
  a.set_path(absl::StrCat(r.run_dir, "/export/run.tpack"));
  a.set_sha256(std::string(64, 'b'));
  v1::Event& event = out.events.emplace_back();
  event.set_id(index + 1);
  event.set_run_id(id);
  event.set_kind(kEventRunCompleted);
  event.set_message(r.reason);
  return out;
}

absl::Status Fill(const std::string& folder, int64_t runs) {
  ASSIGN_OR_RETURN(
      const RunSpec spec,
      ParseRunSpec("name: run\nmodel: {preset: nano, family: tritter, vocab: 264}\n"
                   "data: {sources: [{name: text, shards: /data/text, max_epochs: 1000}]}\n"
                   "training: {steps: 600, sequence_length: 128, global_batch: 16}\n"
                   "export: {format: tpack}\n",
                   "run.yaml", "/"));
  const std::string yaml = CanonicalYaml(spec);
  ASSIGN_OR_RETURN(const auto store, SqliteStore::Open(Env::Real(), folder));
  for (int64_t i = 0; i < runs; ++i) RETURN_IF_ERROR(store->Apply(EndedRun(i, folder, yaml)));
  return absl::OkStatus();
}

absl::Status Perform(const std::string& folder, int64_t runs) {
  RETURN_IF_ERROR(Env::Real()->RemoveTree(folder));
  // By another process, whose memory is not this one's.
  if (const pid_t child = fork(); child == 0) {
    const absl::Status status = Fill(folder, runs);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    _exit(status.ok() ? 0 : 1);
  } else {
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
      return absl::InternalError("the store could not be filled");
  }
  ASSIGN_OR_RETURN(const ProcessUse before, ReadProcessUse(getpid()));
  ASSIGN_OR_RETURN(const auto store, SqliteStore::Open(Env::Real(), folder));
  CoordinatorDependencies d;
  d.store = store.get();
  d.env = Env::Real();
  d.clock = Clock::Real();
  CoordinatorOptions options;
  options.data_dir = folder;
  options.background = false;
  const absl::Duration start = d.clock->Monotonic();
  ASSIGN_OR_RETURN(const auto coordinator, Coordinator::Start(d, options));
  const absl::Duration started = d.clock->Monotonic() - start;
  coordinator->Tick();
  const absl::Duration ticking = d.clock->Monotonic();
  constexpr int kTicks = 20;
  for (int i = 0; i < kTicks; ++i) coordinator->Tick();
  const absl::Duration tick = (d.clock->Monotonic() - ticking) / kTicks;
  ASSIGN_OR_RETURN(const ProcessUse after, ReadProcessUse(getpid()));
  const std::string what = absl::StrCat("coordinator, ", runs, " ended runs: ");
  PrintFigure({absl::StrCat(what, "start"), absl::ToDoubleSeconds(started), "s", "", "<= 10"});
  PrintFigure({absl::StrCat(what, "memory, resident, more than without"),
               static_cast<double>(after.resident_bytes - before.resident_bytes) / (1 << 20), "MB",
               "", "<= 200"});
  PrintFigure({absl::StrCat(what, "a round of decisions"), absl::ToDoubleMilliseconds(tick), "ms",
               "", "<= 20"});
  return Env::Real()->RemoveTree(folder);
}

int Main(int argc, char** argv) {
  CommandLine app(
      "Starts a coordinator on a store of runs that have ended; prints how long that takes and "
      "what memory it needs. Exit code 3 when a bar was missed.");
  std::string folder = "/tmp/tritter-ended-runs";
  int64_t runs = 10000;
  app.AddFlag("--runs", &runs, "that have ended").Positive();
  app.AddFlag("--dir", &folder, "scratch folder, removed before and after");
  if (const std::optional<int> exit_code = ParseFlags(&app, argc, argv)) return *exit_code;
  const absl::Status status = Perform(folder, runs);
  if (status.ok()) return ConcludeFigures();
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace tritter::load

int main(int argc, char** argv) { return tritter::load::Main(argc, argv); }
