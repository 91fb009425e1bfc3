#include "tritterctl/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/fake_clock.h"
#include "tritterctl/testing/demo_run.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

TEST(RenderProgressBar, ShowsEverythingWhenThereIsRoom) {
  EXPECT_EQ(RenderProgressBar(DemoRun(), 200),
            "demo [============>                 ] 40/100 40% loss 1.623 held-out 2.31 bits/byte "
            "21.5k tok/s 1m02s left");
}

TEST(RenderProgressLine, OfARunThatWaitsSaysSo) {
  v1::Run run = DemoRun();
  run.clear_members();
  run.set_reason("needs 2 workers: 1 is free");
  run.set_waiting_cause("too_few_workers");
  EXPECT_THAT(RenderProgressLine(run), HasSubstr(" waiting: needs 2 workers: 1 is free"));
  v1::Run once = run;
  once.set_reason("waiting for worker-1 to connect");
  EXPECT_THAT(RenderProgressLine(once), HasSubstr(" waiting for worker-1 to connect"));
  EXPECT_THAT(RenderProgressLine(once), Not(HasSubstr("waiting: ")));
}

TEST(RenderProgressLine, ShowsNoLossOfAnotherStep) {
  v1::Run run = DemoRun();
  run.set_step(41);
  EXPECT_THAT(RenderProgressLine(run), AllOf(HasSubstr("41/100"), Not(HasSubstr("loss"))));
}

TEST(RenderProgressBar, NeverWiderThanTheTerminal) {
  for (int width = 0; width < 160; ++width)
    EXPECT_LE(RenderProgressBar(DemoRun(), width).size(), static_cast<size_t>(width));
  EXPECT_THAT(RenderProgressBar(DemoRun(), 60), Not(HasSubstr("[")))
      << "the bar goes before the numbers";
}

TEST(RenderProgressBar, SaysWhyNothingMoves) {
  v1::Run run = DemoRun();
  run.set_state(v1::RUN_STATE_QUEUED);
  run.set_step(0);
  run.clear_last_metrics();
  run.clear_last_evaluation();
  run.set_reason("needs 2 workers: 1 is free");
  EXPECT_THAT(RenderProgressBar(run, 200),
              HasSubstr("0/100 0% queued: needs 2 workers: 1 is free"));
}

TEST(RenderProgressBar, FullAndEmptyRunsHaveFullAndEmptyBars) {
  v1::Run run = DemoRun();
  run.set_step(100);
  EXPECT_THAT(RenderProgressBar(run, 200), HasSubstr("[==============================]"));
  run.set_total_steps(0);
  run.set_step(0);
  EXPECT_THAT(RenderProgressBar(run, 200), HasSubstr("[>                             ]"));
}

TEST(HeldOutBitsPerByte, AveragedWeightsCountBeforeRawOnes) {
  v1::Run run;
  EXPECT_EQ(HeldOutBitsPerByte(run), 0);
  run.add_last_evaluation()->set_bits_per_byte(3);
  run.mutable_last_evaluation(0)->set_weights("raw");
  EXPECT_EQ(HeldOutBitsPerByte(run), 3);
  run.add_last_evaluation()->set_bits_per_byte(2);
  run.mutable_last_evaluation(1)->set_weights("averaged");
  EXPECT_EQ(HeldOutBitsPerByte(run), 2);
}

TEST(RenderWorkBar, ShowsBytes) {
  EXPECT_EQ(RenderWorkBar("curate", 5000000, 20000000, 100),
            "curate [=======>                      ] 25% 5 MB of 20 MB");
  EXPECT_THAT(RenderWorkBar("curate", 0, 0, 100), HasSubstr("100%"));
}

TEST(ProgressPrinter, InALogALineEveryFewSeconds) {
  FakeClock clock;
  CaptureStderr();
  {
    ProgressPrinter printer(&clock, false, /*terminal=*/false, absl::Seconds(5));
    v1::Run run = DemoRun();
    for (int i = 0; i < 12; ++i) {
      run.set_step(i + 1);
      printer.Update(run);
      clock.Advance(absl::Seconds(1));
    }
    printer.Finish();
  }
  const std::string text = GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4)
      << text;  // at 0, 5 and 10 s, and the last state
  EXPECT_THAT(text, StartsWith("demo 1/100"));
  EXPECT_THAT(text, HasSubstr("demo 12/100"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

// What it says may be what the line before said.
TEST(ProgressPrinter, InALogAMessageMakesNoLineDue) {
  FakeClock clock;
  CaptureStderr();
  {
    ProgressPrinter printer(&clock, false, /*terminal=*/false, absl::Seconds(5));
    v1::Run run = DemoRun();
    printer.Update(run);
    printer.Message("worker-1 ended");
    run.set_step(50);
    printer.Update(run);
    clock.Advance(absl::Seconds(5));
    run.set_step(60);
    printer.Update(run);
    printer.Finish();
  }
  const std::string text = GetCapturedStderr();
  EXPECT_THAT(text, AllOf(HasSubstr("\nworker-1 ended\ndemo 60/100"), Not(HasSubstr("50/100"))));
}

TEST(ProgressPrinter, OnATerminalTheBarIsRewrittenAndMessagesStandAboveIt) {
  FakeClock clock;
  CaptureStderr();
  {
    ProgressPrinter printer(&clock, false, /*terminal=*/true, absl::Seconds(5));
    printer.Update(DemoRun());
    printer.Message("worker-1 ended");
    printer.Update(DemoRun());
    printer.Finish();
  }
  const std::string text = GetCapturedStderr();
  EXPECT_THAT(text, StartsWith("\r\x1b[Kdemo "));
  EXPECT_THAT(text, HasSubstr("\r\x1b[Kworker-1 ended\n\r\x1b[Kdemo "));
  EXPECT_THAT(text, ::testing::EndsWith("\r\x1b[K"));
}

TEST(ProgressPrinter, QuietShowsMessagesOnly) {
  FakeClock clock;
  CaptureStderr();
  {
    ProgressPrinter printer(&clock, /*quiet=*/true, false, absl::Seconds(5));
    printer.Update(DemoRun());
    printer.Message("m");
    printer.Finish();
  }
  EXPECT_EQ(GetCapturedStderr(), "m\n");
}

}  // namespace
}  // namespace tritter
