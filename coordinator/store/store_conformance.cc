#include "coordinator/store/store_conformance.h"

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"

namespace tritter {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

namespace {

TEST_P(StoreConformance, StartsEmptyWithAnIdentity) {
  ASSERT_OK_AND_ASSIGN(const std::string id, store_->StoreId());
  EXPECT_FALSE(id.empty());
  EXPECT_THAT(*store_->Runs(), IsEmpty());
  EXPECT_THAT(*store_->LiveEpochs(), IsEmpty());
  EXPECT_EQ(*store_->LastEventId(), 0);
  EXPECT_FALSE((*store_->FindKey("k")).has_value());
}

TEST_P(StoreConformance, GivesBackEveryFieldOfRunsAndEpochs) {
  WriteBatch batch;
  batch.runs = {SampleRun("r-b", 20), SampleRun("r-a", 10)};
  batch.epochs = {SampleEpoch("r-a", 2)};
  ASSERT_OK(store_->Apply(batch));
  EXPECT_THAT(*store_->Runs(), ElementsAre(SampleRun("r-a", 10), SampleRun("r-b", 20)));
  EXPECT_THAT(*store_->LiveEpochs(), ElementsAre(SampleEpoch("r-a", 2)));
}

TEST_P(StoreConformance, GivesTheNewestEpochsOfARunByNumber) {
  WriteBatch batch;
  batch.epochs = {SampleEpoch("r-b", 9)};
  for (const uint64_t epoch : {1, 2, 3}) {
    batch.epochs.push_back(SampleEpoch("r-a", epoch));
    batch.epochs.back().live = false;
  }
  ASSERT_OK(store_->Apply(batch));
  EXPECT_THAT(*store_->Epochs("r-a", 2), ElementsAre(batch.epochs[2], batch.epochs[3]));
  EXPECT_THAT(*store_->Epochs("r-a", 100), SizeIs(3));
  EXPECT_THAT(*store_->Epochs("r-c", 100), IsEmpty());
}

TEST_P(StoreConformance, GivesTheLastEpochThatEndedAndTheLastThatFailed) {
  EXPECT_FALSE(store_->Last("r-a")->ended.has_value());
  WriteBatch batch;
  for (const uint64_t epoch : {1, 2, 3, 4, 5}) {
    batch.epochs.push_back(SampleEpoch("r-a", epoch));
    batch.epochs.back().live = epoch == 5;
    batch.epochs.back().failure = epoch <= 2 || epoch == 5 ? "what failed" : "";
  }
  batch.epochs.push_back(SampleEpoch("r-b", 9));
  batch.epochs.back().live = false;
  batch.epochs.back().failure = "";
  ASSERT_OK(store_->Apply(batch));
  ASSERT_OK_AND_ASSIGN(LastEpochs last, store_->Last("r-a"));
  EXPECT_EQ(last.ended, batch.epochs[3]);
  EXPECT_EQ(last.failed, batch.epochs[1]);
  ASSERT_OK_AND_ASSIGN(last, store_->Last("r-b"));
  EXPECT_EQ(last.ended, batch.epochs[5]);
  EXPECT_FALSE(last.failed.has_value());
  batch.epochs = {batch.epochs[3]};
  batch.epochs[0].failure = "the newest too";
  ASSERT_OK(store_->Apply(batch));
  ASSERT_OK_AND_ASSIGN(last, store_->Last("r-a"));
  EXPECT_EQ(last.ended, batch.epochs[0]);
  EXPECT_EQ(last.failed, batch.epochs[0]);
}

TEST_P(StoreConformance, ReplacesRunsAndEpochsByTheirKeys) {
  WriteBatch batch = FullBatch("r-a", 1);
  ASSERT_OK(store_->Apply(batch));
  RunRecord run = SampleRun("r-a", 10);
  run.reason = "changed";
  EpochRecord ended = SampleEpoch("r-a", 2);
  ended.live = false;
  WriteBatch next;
  next.runs = {run};
  next.epochs = {ended};
  ASSERT_OK(store_->Apply(next));
  EXPECT_THAT(*store_->Runs(), ElementsAre(run));
  EXPECT_THAT(*store_->LiveEpochs(), IsEmpty());
}

TEST_P(StoreConformance, TakesBatchesTogetherWithAnAnswerForEach) {
  const auto batch = [](const std::string& run, const std::string& key) {
    WriteBatch out;
    out.runs = {SampleRun(run, 10)};
    out.keys = {{key, "hash", run}};
    return out;
  };
  const WriteBatch a = batch("r-a", "k1"), known = batch("r-b", "k1"), c = batch("r-c", "k2");
  const std::vector<absl::Status> good = store_->ApplyAll({&a});
  ASSERT_THAT(good, SizeIs(1));
  EXPECT_OK(good[0]);
  const std::vector<absl::Status> mixed = store_->ApplyAll({&known, &c});
  ASSERT_THAT(mixed, SizeIs(2));
  EXPECT_EQ(mixed[0].code(), absl::StatusCode::kAlreadyExists);
  EXPECT_OK(mixed[1]);
  EXPECT_THAT(*store_->Runs(), ElementsAre(SampleRun("r-a", 10), SampleRun("r-c", 10)));
  const WriteBatch d = batch("r-d", "k3"), e = batch("r-e", "k4");
  for (const absl::Status& status : store_->ApplyAll({&d, &e})) EXPECT_OK(status);
  EXPECT_THAT(*store_->Runs(), SizeIs(4));
  EXPECT_THAT(store_->ApplyAll({}), IsEmpty());
}

TEST_P(StoreConformance, RefusesAKnownKeyAndLeavesNothingOfThatBatch) {
  ASSERT_OK(store_->Apply(FullBatch("r-a", 1)));
  const std::string before = Dump(*store_, "r-a");
  WriteBatch batch = FullBatch("r-a", 2);
  batch.keys = {{"key-r-a1", "other", "r-b"}};
  EXPECT_THAT(store_->Apply(batch), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(Dump(*store_, "r-a"), before);
  ASSERT_OK_AND_ASSIGN(auto key, store_->FindKey("key-r-a1"));
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(key->request_hash, "hash");
  EXPECT_EQ(key->run_id, "r-a");
}

TEST_P(StoreConformance, RefusesAKnownEventIdAndLeavesNothingOfThatBatch) {
  ASSERT_OK(store_->Apply(FullBatch("r-a", 1)));
  const std::string before = Dump(*store_, "r-a");
  WriteBatch batch = FullBatch("r-a", 2);
  batch.events = {SampleEvent(2, "r-a"), SampleEvent(1, "r-a")};
  EXPECT_THAT(store_->Apply(batch), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(Dump(*store_, "r-a"), before);
}

TEST_P(StoreConformance, ForgetsPlansSharesAndRequestsOfAnEndedEpoch) {
  ASSERT_OK(store_->Apply(FullBatch("r-a", 1)));
  EXPECT_THAT(*store_->Plans("r-a", 2), SizeIs(1));
  EXPECT_THAT(*store_->Shares("r-a", 2), SizeIs(1));
  EXPECT_TRUE(*store_->RequestSeen({"r-a", 2, "r-1"}));
  EXPECT_FALSE(*store_->RequestSeen({"r-a", 1, "r-1"}));
  WriteBatch batch;
  batch.forget_epochs = {{"r-a", 2}};
  ASSERT_OK(store_->Apply(batch));
  EXPECT_THAT(*store_->Plans("r-a", 2), IsEmpty());
  EXPECT_THAT(*store_->Shares("r-a", 2), IsEmpty());
  EXPECT_FALSE(*store_->RequestSeen({"r-a", 2, "r-1"}));
}

TEST_P(StoreConformance, KeepsPlansInOrderOfTheirFirstStep) {
  WriteBatch batch;
  for (int64_t first : {16, 0, 8}) {
    PlanRecord plan{"r-a", 1, {}};
    plan.plan.set_first_step(first);
    plan.plan.set_end_step(first + 8);
    batch.plans.push_back(plan);
  }
  ASSERT_OK(store_->Apply(batch));
  ASSERT_OK_AND_ASSIGN(const auto plans, store_->Plans("r-a", 1));
  ASSERT_THAT(plans, SizeIs(3));
  EXPECT_EQ(plans[0].first_step(), 0);
  EXPECT_EQ(plans[2].end_step(), 24);
}

TEST_P(StoreConformance, DropsCheckpoints) {
  ASSERT_OK(store_->Apply(FullBatch("r-a", 1)));
  ASSERT_OK(store_->Apply(FullBatch("r-a", 2)));
  WriteBatch batch;
  batch.dropped_checkpoints = {{"r-a", 1}, {"r-a", 99}};
  ASSERT_OK(store_->Apply(batch));
  ASSERT_OK_AND_ASSIGN(const auto checkpoints, store_->Checkpoints("r-a"));
  ASSERT_THAT(checkpoints, SizeIs(1));
  EXPECT_EQ(checkpoints[0].step(), 2);
}

TEST_P(StoreConformance, ShowsEachStepOnceAfterWorkWasRepeated) {
  WriteBatch batch;
  for (int64_t step = 1; step <= 6; ++step) batch.metrics.push_back(SampleMetric("r-a", step, 1));
  ASSERT_OK(store_->Apply(batch));
  WriteBatch resume;
  resume.superseded = {{"r-a", 4}};
  ASSERT_OK(store_->Apply(resume));
  WriteBatch again;
  for (int64_t step = 5; step <= 7; ++step) again.metrics.push_back(SampleMetric("r-a", step, 2));
  ASSERT_OK(store_->Apply(again));
  ASSERT_OK_AND_ASSIGN(const auto curve, store_->Metrics("r-a", 0, 0, 1000));
  ASSERT_THAT(curve, SizeIs(7));
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(curve[i].step(), i + 1);
    EXPECT_EQ(curve[i].epoch(), i < 4 ? 1 : 2);
  }
  EXPECT_EQ(*store_->SupersededSteps("r-a"), 2);
  EXPECT_THAT(*store_->Metrics("r-a", 3, 5, 1000), SizeIs(3));
  EXPECT_THAT(*store_->Metrics("r-b", 0, 0, 1000), IsEmpty());
  ASSERT_OK_AND_ASSIGN(const auto part, store_->Metrics("r-a", 4, 0, 2));
  ASSERT_THAT(part, SizeIs(2));
  EXPECT_EQ(part[1].step(), 5);
}

TEST_P(StoreConformance, SupersedesEvaluationsBeyondTheResumedStep) {
  for (uint64_t epoch : {1, 2}) {
    WriteBatch batch;
    if (epoch == 2) batch.superseded = {{"r-a", 200}};
    for (int64_t step : {200, 400}) {
      if (epoch == 2 && step == 200) continue;
      EvaluationRecord e{"r-a", epoch, {}};
      e.point.set_step(step);
      e.point.set_loss(static_cast<double>(epoch));
      batch.evaluations.push_back(e);
    }
    ASSERT_OK(store_->Apply(batch));
  }
  ASSERT_OK_AND_ASSIGN(const auto points, store_->Evaluations("r-a", 0, 0, 1000));
  ASSERT_THAT(points, SizeIs(2));
  EXPECT_EQ(points[0].loss(), 1.0);
  EXPECT_EQ(points[1].loss(), 2.0);
  EXPECT_THAT(*store_->Evaluations("r-a", 0, 0, 1), SizeIs(1));
}

TEST_P(StoreConformance, ListsEventsAfterAnIdByRunAndForAll) {
  WriteBatch batch;
  for (int64_t id = 1; id <= 6; ++id)
    batch.events.push_back(SampleEvent(id, id % 2 ? "r-a" : "r-b"));
  ASSERT_OK(store_->Apply(batch));
  EXPECT_EQ(*store_->LastEventId(), 6);
  EXPECT_THAT(*store_->Events("", 0, 100), SizeIs(6));
  EXPECT_THAT(*store_->Events("r-a", 1, 100), SizeIs(2));
  ASSERT_OK_AND_ASSIGN(const auto first, store_->Events("r-b", 0, 1));
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_EQ(first[0].id(), 2);
}

TEST_P(StoreConformance, SaysWhatItTakesOnDisk) {
  ASSERT_OK_AND_ASSIGN(const int64_t before, store_->Bytes());
  WriteBatch batch;
  for (int64_t id = 1; id <= 1000; ++id) {
    batch.events.push_back(SampleEvent(id, "r-a"));
    batch.events.back().set_message(std::string(1000, 'x'));
  }
  ASSERT_OK(store_->Apply(batch));
  ASSERT_OK_AND_ASSIGN(const int64_t after, store_->Bytes());
  if (before > 0) EXPECT_GE(after - before, 1000 * 1000);
}

TEST_P(StoreConformance, DeletesEveryRowOfARunAndOfNoOther) {
  ASSERT_OK(store_->Apply(FullBatch("r-b", 2)));
  const std::string empty = Dump(*store_, "r-a");
  ASSERT_OK(store_->Apply(FullBatch("r-a", 1)));
  WriteBatch batch;
  batch.deleted_runs = {"r-a"};
  batch.keys = {{"change:1", "delete", "r-a", 7}};  // of the deletion itself: it stays
  ASSERT_OK(store_->Apply(batch));
  EXPECT_EQ(Dump(*store_, "r-a"), empty);
  EXPECT_THAT(*store_->Epochs("r-a", 100), IsEmpty());
  EXPECT_THAT(*store_->Runs(), ElementsAre(SampleRun("r-b", 1000)));
  EXPECT_THAT(*store_->Checkpoints("r-b"), SizeIs(1));
  EXPECT_EQ((*store_->FindKey("change:1"))->created_ms, 7);
  batch.keys.clear();
  ASSERT_OK(store_->Apply(batch));
  ASSERT_OK(store_->Apply(FullBatch("r-a", 3)));  // as if it had never been
  EXPECT_THAT(*store_->LogLines("r-a", 0, 0), SizeIs(1));
}

TEST_P(StoreConformance, PrunesOldEventsAndKeysButThoseOfRunsThatHaveNotEnded) {
  RunRecord ended = SampleRun("r-ended", 1), live = SampleRun("r-live", 2);
  ended.finished_ms = 50;
  WriteBatch batch;
  batch.runs = {ended, live};
  for (int64_t id = 1; id <= 60; ++id) {
    // Of both and of the cluster, by turns.
    batch.events.push_back(SampleEvent(id, id % 3 == 0 ? "" : id % 3 == 1 ? "r-ended" : "r-live"));
  }
  batch.keys = {{"old", "hash", "r-ended", 10},
                {"older", "hash", "r-ended", 5},
                {"new", "hash", "r-ended", 20},
                {"live", "hash", "r-live", 10}};
  ASSERT_OK(store_->Apply(batch));
  const auto prune = [&](const Prune& how) {
    WriteBatch next;
    next.prunes = {how};
    EXPECT_OK(store_->Apply(next));
  };
  const auto known = [&](const char* key) { return store_->FindKey(key)->has_value(); };
  prune({.keep_events = 0, .keys_before_ms = 15, .rows = 1});
  EXPECT_THAT(*store_->Events("", 0, 100), SizeIs(60));
  EXPECT_FALSE(known("older"));
  EXPECT_TRUE(known("old"));
  prune({.keep_events = 30, .keys_before_ms = 15, .rows = 5});  // the five oldest of others
  EXPECT_FALSE(known("old"));
  EXPECT_TRUE(known("new"));
  EXPECT_TRUE(known("live"));
  ASSERT_OK_AND_ASSIGN(const auto some, store_->Events("", 0, 100));
  ASSERT_THAT(some, SizeIs(55));
  EXPECT_EQ(some[0].id(), 2);
  EXPECT_EQ(some[1].id(), 5);
  EXPECT_EQ(some[2].id(), 8);
  EXPECT_EQ(some[3].id(), 9);
  for (int i = 0; i < 10; ++i) prune({.keep_events = 30, .keys_before_ms = 0, .rows = 5});
  EXPECT_THAT(*store_->Events("r-live", 0, 100), SizeIs(20));
  EXPECT_EQ((*store_->Events("r-ended", 0, 100)).front().id(), 31);
  // However long a run lives: beyond ten times as many even its own go.
  WriteBatch more;
  for (int64_t id = 61; id <= 160; ++id) more.events.push_back(SampleEvent(id, "r-live"));
  ASSERT_OK(store_->Apply(more));
  prune({.keep_events = 5, .keys_before_ms = 0, .rows = 1000});
  ASSERT_OK_AND_ASSIGN(const auto left, store_->Events("", 0, 1000));
  ASSERT_THAT(left, SizeIs(50));
  EXPECT_EQ(left.front().id(), 111);
  EXPECT_EQ(*store_->LastEventId(), 160);
}

TEST_P(StoreConformance, BoundsLogLinesOfARunAndKeepsTheNewest) {
  for (int part = 0; part < 6; ++part) {
    WriteBatch batch;
    for (int i = 0; i < 1000; ++i) {
      LogRecord log{0, "r-a", {}};
      log.line.set_line(absl::StrCat(part * 1000 + i));
      batch.log_lines.push_back(log);
    }
    LogRecord other{0, "r-b", {}};
    batch.log_lines.push_back(other);
    ASSERT_OK(store_->Apply(batch));
  }
  ASSERT_OK_AND_ASSIGN(const auto all, store_->LogLines("r-a", 0, 0));
  ASSERT_THAT(all, SizeIs(kKeptLogLines));
  EXPECT_EQ(all.front().line.line(), "1000");
  EXPECT_EQ(all.back().line.line(), "5999");
  EXPECT_THAT(*store_->LogLines("r-b", 0, 0), SizeIs(6));
  ASSERT_OK_AND_ASSIGN(const auto tail, store_->LogLines("r-a", 0, 2));
  ASSERT_THAT(tail, SizeIs(2));
  EXPECT_EQ(tail[0].line.line(), "5998");
  EXPECT_THAT(*store_->LogLines("r-a", tail[0].sequence, 0), SizeIs(1));
}

}  // namespace
}  // namespace tritter
