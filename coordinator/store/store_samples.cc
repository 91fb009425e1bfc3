#include "coordinator/store/store_samples.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

// A copy that lives as long as a range-for over it; dies when the store fails.
template <typename T>
T Value(absl::StatusOr<T> value) {
  return *std::move(value);
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string pattern = absl::StrCat(testing::TempDir(), "/storeXXXXXX");
  path_ = mkdtemp(pattern.data());
}
TemporaryFolder::~TemporaryFolder() { std::filesystem::remove_all(path_); }

RunRecord SampleRun(const std::string& run_id, int64_t created_ms) {
  RunRecord r;
  r.run_id = run_id;
  r.name = "shakespeare";
  r.state = v1::RUN_STATE_RUNNING;
  r.reason = "training; it's at \"step 7\"";
  r.intent = Intent::kPause;
  r.spec_yaml = std::string("name: x\n\0y", 10);
  r.spec_hash = "abc";
  r.run_dir = "/data/runs/x";
  r.total_steps = 1200;
  r.priority = -3;
  r.step = 7;
  r.best_step = 9;
  r.epoch = 2;
  r.epochs_lost = 1;
  r.failures = 4;
  r.created_ms = created_ms;
  r.started_ms = created_ms + 1;
  r.reported_tokens = 14336;
  r.reported_us = 700000;
  return r;
}

EpochRecord SampleEpoch(const std::string& run_id, uint64_t epoch) {
  EpochRecord e;
  e.run_id = run_id;
  e.epoch = epoch;
  e.start_step = 200;
  e.manifest_sha256 = "def";
  e.rendezvous = "127.0.0.1:4000";
  e.started_ms = 5;
  e.end_step = 230;
  e.failure = std::string("\x0a\0\xff", 3);
  e.members = {{"w-0", 0xfedcba9876543210u, "cpu", 1 << 30}, {"w-1", 3, "cpu", 2}};
  return e;
}

v1::Event SampleEvent(int64_t id, const std::string& run_id) {
  v1::Event e;
  e.set_id(id);
  e.set_run_id(run_id);
  e.set_kind("epoch_formed");
  e.set_message(absl::StrCat("event ", id));
  return e;
}

MetricRecord SampleMetric(const std::string& run_id, int64_t step, uint64_t epoch) {
  MetricRecord m;
  m.run_id = run_id;
  m.metrics.set_step(step);
  m.metrics.set_epoch(epoch);
  m.metrics.set_loss(1.0 / static_cast<double>(step));
  return m;
}

WriteBatch FullBatch(const std::string& run_id, int64_t event_id) {
  WriteBatch b;
  b.runs = {SampleRun(run_id, 1000)};
  b.keys = {{absl::StrCat("key-", run_id, event_id), "hash", run_id}};
  b.epochs = {SampleEpoch(run_id, 2)};
  PlanRecord plan{run_id, 2, {}};
  plan.plan.set_first_step(event_id);
  plan.plan.set_end_step(event_id + 10);
  b.plans = {plan};
  ShareRecord share{run_id, 2, event_id, 1, {}};
  share.share.set_step(event_id);
  share.share.set_rank(1);
  share.share.add_files()->set_name("share-1-of-2.safetensors");
  b.shares = {share};
  CheckpointRecord checkpoint{run_id, {}};
  checkpoint.checkpoint.set_step(event_id);
  checkpoint.checkpoint.set_path("/data/step");
  b.checkpoints = {checkpoint};
  b.superseded = {{run_id, event_id - 1}};
  b.metrics = {SampleMetric(run_id, event_id, 2), SampleMetric(run_id, event_id + 1, 2)};
  EvaluationRecord evaluation{run_id, 2, {}};
  evaluation.point.set_step(event_id);
  evaluation.point.set_source("shakespeare");
  b.evaluations = {evaluation};
  ArtifactRecord artifact{run_id, {}};
  artifact.artifact.set_kind("tpack");
  artifact.artifact.set_step(event_id);
  b.artifacts = {artifact};
  b.events = {SampleEvent(event_id, run_id)};
  b.requests = {{run_id, 2, absl::StrCat("r-", event_id)}};
  LogRecord log{0, run_id, {}};
  log.line.set_line(absl::StrCat("line ", event_id));
  b.log_lines = {log};
  return b;
}

std::string Dump(Store& store, const std::string& run_id) {
  std::string out;
  for (const RunRecord& r : Value(store.Runs())) {
    absl::StrAppend(&out, "run ", r.run_id, " ", r.state, " ", r.reason, " ", r.step, " ", r.epoch,
                    " ", r.failures, " ", r.created_ms, "\n");
  }
  for (const EpochRecord& e : Value(store.LiveEpochs())) {
    absl::StrAppend(&out, "epoch ", e.run_id, " ", e.epoch, " ", e.start_step, " ",
                    e.members.size(), "\n");
  }
  for (const v1::Plan& p : Value(store.Plans(run_id, 2)))
    absl::StrAppend(&out, "plan ", p.ShortDebugString(), "\n");
  for (const ShareRecord& s : Value(store.Shares(run_id, 2)))
    absl::StrAppend(&out, "share ", s.share.ShortDebugString(), "\n");
  for (const v1::Checkpoint& c : Value(store.Checkpoints(run_id)))
    absl::StrAppend(&out, "ckpt ", c.ShortDebugString(), "\n");
  for (const v1::Artifact& a : Value(store.Artifacts(run_id)))
    absl::StrAppend(&out, "artifact ", a.ShortDebugString(), "\n");
  for (const v1::Event& e : Value(store.Events(run_id, 0, 1000)))
    absl::StrAppend(&out, "event ", e.ShortDebugString(), "\n");
  for (const v1::StepMetrics& m : Value(store.Metrics(run_id, 0, 0, 1000)))
    absl::StrAppend(&out, "m ", m.ShortDebugString(), "\n");
  absl::StrAppend(&out, "superseded ", *store.SupersededSteps(run_id), "\n");
  for (const auto& e : Value(store.Evaluations(run_id, 0, 0, 1000)))
    absl::StrAppend(&out, "eval ", e.ShortDebugString(), "\n");
  for (const LogRecord& l : Value(store.LogLines(run_id, 0, 0)))
    absl::StrAppend(&out, "log ", l.line.line(), "\n");
  for (int64_t i = 0; i < 20; ++i) {
    absl::StrAppend(&out, *store.RequestSeen({run_id, 2, absl::StrCat("r-", i)}) ? "1" : "0",
                    store.FindKey(absl::StrCat("key-", run_id, i))->has_value() ? "1" : "0");
  }
  return out;
}

}  // namespace tritter
