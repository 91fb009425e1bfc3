#include "tritterctl/run_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tritterctl/progress.h"
#include "tritterctl/testing/demo_run.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(RunView, TableHasALineForEachRun) {
  v1::ListRunsResponse runs;
  *runs.add_runs() = DemoRun();
  v1::Run queued;
  queued.set_run_id("r-2");
  queued.set_state(v1::RUN_STATE_QUEUED);
  queued.set_reason("needs 2 workers: 1 is free");
  *runs.add_runs() = queued;
  EXPECT_EQ(RunsTable(runs),
            "RUN  NAME  PROJECT  STATE    STEP    LOSS   TOKENS/S  CREATED              REASON\n"
            "r-1  demo  speech   running  40/100  1.623  21.5k     2023-11-14 22:13:20  training\n"
            "r-2        -        queued   0/0     -      -         -                    needs 2 "
            "workers: 1 is free\n");
}

TEST(RunView, StepAndLossOfALineAreOfTheSameStep) {
  v1::Run run = DemoRun();
  run.set_step(41);
  v1::ListRunsResponse runs;
  *runs.add_runs() = run;
  EXPECT_THAT(RunsTable(runs), AllOf(HasSubstr("  41/100  -  "), Not(HasSubstr("1.623"))));
  EXPECT_THAT(SummaryText(run, RunSummary(run)), Not(HasSubstr("loss:")));
  EXPECT_THAT(DescribeRun(run, {}, {}), HasSubstr("training:     step 40: loss 1.6234"));
}

TEST(RunView, ARunThatShouldTrainAndDoesNotWaits) {
  v1::Run run = DemoRun();
  EXPECT_EQ(ShownState(run), "running");
  run.set_waiting_cause("workers_busy");
  EXPECT_EQ(ShownState(run), "waiting");
  v1::ListRunsResponse runs;
  *runs.add_runs() = run;
  EXPECT_THAT(RunsTable(runs), AllOf(HasSubstr("  waiting  "), Not(HasSubstr("running"))));
  EXPECT_THAT(DescribeRun(run, {}, {}), AllOf(HasSubstr("state:        waiting\n"),
                                              HasSubstr("cause:        workers_busy\n")));
  EXPECT_EQ(RunSummary(run)["state"], "running");  // for programs: as it is stored
  EXPECT_EQ(RunSummary(run)["waiting_cause"], "workers_busy");
  run.set_state(v1::RUN_STATE_QUEUED);
  EXPECT_EQ(ShownState(run), "queued");
}

TEST(RunView, WideTablesHaveMoreColumns) {
  v1::ListRunsResponse runs;
  *runs.add_runs() = DemoRun();
  const std::string wide = RunsTable(runs, /*wide=*/true);
  EXPECT_THAT(wide, HasSubstr("REASON    BITS/BYTE  LEFT   COMMITTED"));
  EXPECT_THAT(wide, HasSubstr("training  2.3140     1m02s  20"));
  v1::ListWorkersResponse workers;
  workers.add_workers()->set_incarnation(0xab);
  EXPECT_THAT(WorkersTable(workers, 0, true), HasSubstr("00000000000000ab"));
  EXPECT_THAT(WorkersTable(workers, 0), Not(HasSubstr("00000000000000ab")));
  v1::ListCheckpointsResponse checkpoints;
  checkpoints.add_checkpoints()->set_bytes(1234567);
  EXPECT_THAT(CheckpointsTable(checkpoints, true), HasSubstr("1234567"));
  EXPECT_THAT(CheckpointsTable(checkpoints), Not(HasSubstr("1234567")));
}

TEST(RunView, OfAWorkerThatHasNotComeBackTheUnknownIsADash) {
  v1::ListWorkersResponse workers;
  v1::WorkerInfo* absent = workers.add_workers();
  absent->set_name("worker-a");
  absent->set_state("lost");
  v1::WorkerInfo* known = workers.add_workers();
  known->set_name("worker-b");
  known->set_state("idle");
  known->set_host("10.0.0.2");
  known->set_device("cpu avx2 x1");
  known->set_threads(8);
  known->set_last_seen_ms(1'700'000'000'000);
  EXPECT_EQ(WorkersTable(workers, 1'700'000'005'000),
            "WORKER    STATE  HOST      DEVICE       THREADS  RUN  SEEN\n"
            "worker-a  lost   -         -            -        -    -\n"
            "worker-b  idle   10.0.0.2  cpu avx2 x1  8        -    5.0s\n");
}

TEST(RunView, DescribeTellsWhatMatters) {
  v1::ListCheckpointsResponse checkpoints;
  checkpoints.add_checkpoints()->set_path("/c/step-00000020");
  v1::ListEventsResponse events;
  events.add_events()->set_message("worker-b lost: silent for 41 s");
  const std::string text = DescribeRun(DemoRun(), checkpoints, events);
  for (const char* part :
       {"run:          r-1\n", "project:      speech\n", "state:        running\n",
        "steps:        40 of 100, committed 20\n",
        "rank 0: worker-0 (cpu avx2 x1), 5 sequences of a batch\n",
        "shakespeare (averaged weights, step 20): loss 1.7000, perplexity 5.474, 2.3140 bits/byte "
        "over 113687 bytes",
        "/c/step-00000020", "worker-b lost: silent for 41 s",
        "configuration (SHA-256 abc): tritterctl describe r-1 -o wide\n", "1m02s",
        "tpack of step 0, 1.23 MB: /runs/r-1/demo.tpack"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(RunView, AJobHasNeitherStepsNorEpochs) {
  v1::Run run;
  run.set_run_id("r-2");
  run.set_job("serve");
  EXPECT_THAT(DescribeRun(run, {}, {}), AllOf(HasSubstr("job:          serve\n"),
                                              Not(HasSubstr("steps:")), Not(HasSubstr("epoch:"))));
  EXPECT_THAT(SummaryText(run, RunSummary(run)), Not(HasSubstr("steps:")));
  v1::ListRunsResponse runs;
  *runs.add_runs() = run;
  EXPECT_THAT(RunsTable(runs), Not(HasSubstr("0/0")));
  run.set_job("train");
  EXPECT_THAT(DescribeRun(run, {}, {}),
              AllOf(Not(HasSubstr("job:")), HasSubstr("steps:        0 of 0, committed 0\n"),
                    HasSubstr("epoch:        0, 0 lost\n")));
}

TEST(RunView, DescribeSaysWhatTheTimeOfAStepGoesInto) {
  v1::Run run = DemoRun();
  v1::StepMetrics* step = run.mutable_last_metrics();
  step->set_step_seconds(0.05);
  step->set_data_seconds(0.0001);
  step->set_backward_seconds(0.03);
  step->set_other_seconds(0.001);
  EXPECT_THAT(DescribeRun(run, {}, {}),
              HasSubstr("step time:    50.0 ms: data wait 0.2 %, forward 0.0 %, backward 60.0 %, "
                        "reduce 0.0 %, optimizer 0.0 %, other 2.0 %\n"));
  EXPECT_THAT(DescribeRun(run, {}, {}), Not(HasSubstr("sent:")));
  step->set_step(40);
  step->set_sent_bytes(3'400'000);
  EXPECT_THAT(DescribeRun(run, {}, {}),
              HasSubstr("sent:         3.4 MB by rank 0 to the others, at step 40\n"));
}

v1::Run FailedInEpochThree() {
  v1::Run run = DemoRun();
  run.set_epoch(3);
  v1::Failure* failure = run.mutable_last_failure();
  failure->set_epoch(3);
  failure->set_worker("worker-b");
  failure->set_rank(1);
  failure->set_device("cpu avx2 x1");
  failure->set_cause("worker-b lost: stream broken");
  failure->add_last_lines()->set_line("checkpoint_write_failed: no space left");
  failure->set_detail("[pair.cc:534] Connection closed\nframe #0: x\n");
  return run;
}

TEST(RunView, DescribeNamesWhoFailedFirstWithItsLastLines) {
  v1::Run run = FailedInEpochThree();
  for (const v1::RunState state : {v1::RUN_STATE_RUNNING, v1::RUN_STATE_FAILED}) {
    run.set_state(state);
    EXPECT_THAT(DescribeRun(run, {}, {}),
                AllOf(HasSubstr("last failure: epoch 3, "),
                      HasSubstr("\n  worker-b lost: stream broken\n    [pair.cc:534] Connection "
                                "closed\n    frame #0: x\n  first to fail: worker-b "
                                "(rank 1, cpu avx2 x1), which logged last\n    "),
                      HasSubstr("checkpoint_write_failed: no space left\n")));
  }
  EXPECT_THAT(DescribeRun(DemoRun(), {}, {}), Not(HasSubstr("last failure")));
}

TEST(RunView, AFailedRunSaysWhatIsLostAndHowItGoesOn) {
  v1::Run run = FailedInEpochThree();
  run.set_state(v1::RUN_STATE_FAILED);
  v1::ListEpochsResponse epochs;
  epochs.add_epochs()->set_epoch(3);
  epochs.mutable_epochs(0)->set_end_step(57);
  const std::string next =
      "  it is not tried again by itself; when the cause is mended: tritterctl resume r-1\n";
  EXPECT_THAT(
      DescribeRun(run, {}, {}, epochs),
      HasSubstr(absl::StrCat("  the 37 steps after the checkpoint of step 20 are lost\n", next)));
  run.set_committed_step(0);
  EXPECT_THAT(DescribeRun(run, {}, {}, epochs),
              HasSubstr("  its 57 steps, of which there is no checkpoint, are lost\n"));
  run.set_state(v1::RUN_STATE_RUNNING);  // it goes on, perhaps from memory
  EXPECT_THAT(DescribeRun(run, {}, {}, epochs),
              AllOf(Not(HasSubstr("are lost")), Not(HasSubstr(next))));
}

TEST(RunView, TheConfigurationIsForWideOutput) {
  EXPECT_THAT(DescribeRun(DemoRun(), {}, {}), Not(HasSubstr("name: demo")));
  EXPECT_THAT(DescribeRun(DemoRun(), {}, {}, {}, 0, /*wide=*/true),
              HasSubstr("configuration (SHA-256 abc)\n  name: demo\n"));
}

TEST(RunView, AFailureThatIsOverIsOneLine) {
  v1::Run run = FailedInEpochThree();
  run.mutable_last_failure()->set_time_ms(1'700'000'000'000);
  run.set_epoch(5);
  v1::ListEpochsResponse epochs;
  epochs.add_epochs()->set_epoch(4);
  epochs.mutable_epochs(0)->set_start_step(240);
  std::string text = DescribeRun(run, {}, {}, epochs);
  EXPECT_THAT(text, HasSubstr("last failure: epoch 3, 2023-11-14 22:13:20: worker-b lost: stream "
                              "broken; recovered: went on from step 240\n"));
  EXPECT_THAT(text, AllOf(Not(HasSubstr("first to fail")), Not(HasSubstr("pair.cc"))));
  EXPECT_THAT(DescribeRun(run, {}, {}, epochs, 0, /*wide=*/true),
              AllOf(HasSubstr("; recovered: went on from step 240\n  worker-b lost"),
                    HasSubstr("checkpoint_write_failed: no space left\n")));
  EXPECT_THAT(DescribeRun(run, {}, {}), HasSubstr("stream broken; recovered\n"))
      << "the epoch after it is not among those that were asked for";
  // It ended with the failure, which nobody has to look into any more.
  run.set_epoch(3);
  run.set_state(v1::RUN_STATE_COMPLETED);
  EXPECT_THAT(DescribeRun(run, {}, {}), AllOf(HasSubstr(": worker-b lost: stream broken\n"),
                                              Not(HasSubstr("first to fail"))));
}

TEST(RunView, EpochsSayFromWhereToWhereWithWhomAndWhyTheyEnded) {
  v1::ListEpochsResponse epochs;
  v1::Epoch* ended = epochs.add_epochs();
  ended->set_epoch(1);
  ended->set_end_step(20);
  ended->set_started_ms(1000);
  ended->set_ended_ms(31000);
  ended->set_end_reason("worker b lost: stream broken");
  ended->add_members()->set_worker("a");
  ended->add_members()->set_worker("b");
  ended->mutable_failure()->set_worker("b");
  v1::Epoch* live = epochs.add_epochs();
  live->set_epoch(2);
  live->set_live(true);
  live->set_start_step(20);
  live->set_end_step(25);
  live->set_started_ms(32000);
  const std::string table = EpochsTable(epochs, 37000, true);
  EXPECT_THAT(table, AllOf(HasSubstr("0 to 20"), HasSubstr("30s"), HasSubstr("a,b"),
                           HasSubstr("worker b lost: stream broken")));
  EXPECT_THAT(table, AllOf(HasSubstr("20 to 25"), HasSubstr("5.0s"), HasSubstr("trains now")));
  EXPECT_THAT(DescribeRun(DemoRun(), {}, {}, epochs, 37000), HasSubstr("\nepochs\nEPOCH"));
}

TEST(RunView, SummaryHasTheMeanThroughputAndTheKeysScriptsRead) {
  v1::Run run = DemoRun();
  run.set_reported_tokens(4000);
  run.set_reported_seconds(2);
  const OrderedJson json = RunSummary(run);
  EXPECT_EQ(json["tokens_per_second"], 2000.0);
  EXPECT_EQ(json["train_seconds"], 2.0);
  EXPECT_EQ(json["total_steps"], 100);
  EXPECT_EQ(json["evaluations"][0]["bits_per_byte"], 2.314);
  EXPECT_EQ(json["artifacts"][0]["path"], "/runs/r-1/demo.tpack");
  EXPECT_THAT(SummaryText(DemoRun(), json), StartsWith("run:          demo (r-1): running\n"));
}

TEST(RunView, SummaryOfARunWithoutStepsDividesByNothing) {
  EXPECT_EQ(RunSummary(v1::Run())["tokens_per_second"], 0.0);
}

TEST(RunView, TerminalStates) {
  EXPECT_TRUE(IsTerminal(v1::RUN_STATE_COMPLETED) && IsTerminal(v1::RUN_STATE_FAILED) &&
              IsTerminal(v1::RUN_STATE_CANCELLED));
  for (const auto state :
       {v1::RUN_STATE_QUEUED, v1::RUN_STATE_RUNNING, v1::RUN_STATE_PAUSING, v1::RUN_STATE_PAUSED,
        v1::RUN_STATE_CANCELLING, v1::RUN_STATE_EXPORTING}) {
    EXPECT_FALSE(IsTerminal(state)) << state;
  }
}

TEST(RunView, AScheduleIsToldByItsSteps) {
  EXPECT_EQ(ScheduleWords({.warmup_steps = 20, .decay_start_step = 280, .total_steps = 300}),
            "warm-up up to step 20, decay from step 280 on");
  EXPECT_EQ(ScheduleWords({.warmup_steps = 0, .decay_start_step = 300, .total_steps = 300}),
            "no warm-up, no decay");
}

}  // namespace
}  // namespace tritter
