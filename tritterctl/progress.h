// How a run's progress looks: pure functions from a Run to text, and the printer that puts it on
// stderr.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "common/clock.h"
#include "tritter/v1/runs.pb.h"

namespace tritter {

bool IsTerminal(v1::RunState state);  // completed, failed, cancelled
// What people see as its state: "waiting" for a run that is running, and should train, and does
// not.
std::string ShownState(const v1::Run& run);
// Whether the newest figures are of the step that the run is at: one line shows no others.
bool HasLossOfItsStep(const v1::Run& run);
// "shakespeare-nano [=====>     ] 400/1200 33% loss 1.623 held-out 2.31 bits/byte 21.5k tok/s 1m02s
// left", cut to `width` columns (the bar shrinks first). Before training and at its end the state
// and its reason stand in place of the numbers.
std::string RenderProgressBar(const v1::Run& run, int width);
// The same facts without a bar, for logs.
std::string RenderProgressLine(const v1::Run& run);
// Of other long work: "curate [=====>   ] 45% 12.3 MB of 27.0 MB".
std::string RenderWorkBar(const std::string& what, uint64_t done, uint64_t total, int width);

// The newest held-out figure of the run (averaged weights first), or 0 when there is none yet.
double HeldOutBitsPerByte(const v1::Run& run);

// Owns the last line of stderr when that is a terminal; else prints a line every few seconds. Not
// thread-safe.
class ProgressPrinter {
 public:
  // Looks at stderr. `quiet`: messages only.
  explicit ProgressPrinter(Clock* clock, bool quiet = false);
  ProgressPrinter(Clock* clock, bool quiet, bool terminal, absl::Duration line_interval);
  ~ProgressPrinter();  // leaves the cursor at the beginning of a line

  void Update(const v1::Run& run);
  void UpdateWork(const std::string& what, uint64_t done, uint64_t total);
  // A line of its own, above the bar.
  void Message(const std::string& text);
  // Removes the bar (terminal) or prints the last state (log).
  void Finish();

 private:
  void Show(const std::string& bar);
  void Erase();
  bool DueNow(absl::Duration interval);

  Clock* const clock_;
  const bool quiet_, terminal_;
  const absl::Duration line_interval_;
  absl::Duration last_ = -absl::InfiniteDuration();
  std::string last_line_;  // log form: what was printed last
  std::string pending_;    // log form: newest, not printed yet
  bool bar_shown_ = false;
};

}  // namespace tritter
