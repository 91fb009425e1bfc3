#include "tritterctl/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tritterctl/output.h"
#include "tritterctl/proto_json.h"

namespace tritter {
namespace {

constexpr int kWidestBar = 30, kNarrowestBar = 5;
constexpr absl::Duration kBarInterval = absl::Milliseconds(100);
constexpr absl::Duration kLineInterval = absl::Seconds(5);

int TerminalWidth() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

std::string Bar(double fraction, int cells) {
  const int full = std::clamp(static_cast<int>(fraction * cells), 0, cells);
  std::string bar(full, '=');
  if (full < cells) bar += '>';
  bar.resize(cells, ' ');
  return absl::StrCat("[", bar, "]");
}

// `before [bar] after` in at most `width` columns: the bar shrinks, then goes, then the text is
// cut.
std::string Compose(const std::string& before, double fraction, const std::string& after,
                    int width) {
  const int room =
      width - static_cast<int>(before.size() + after.size()) - 4;  // brackets and spaces
  std::string line =
      room >= kNarrowestBar
          ? absl::StrCat(before, " ", Bar(fraction, std::min(room, kWidestBar)), " ", after)
          : absl::StrCat(before, " ", after);
  if (static_cast<int>(line.size()) > width) line.resize(std::max(width, 0));
  return line;
}

// Steps are made: there is an epoch. Otherwise the reason says what is waited for.
bool Training(const v1::Run& run) {
  return run.state() == v1::RUN_STATE_RUNNING && run.step() > 0 && run.members_size() > 0;
}

std::string Numbers(const v1::Run& run) {
  std::vector<std::string> parts;
  parts.push_back(absl::StrFormat("%d/%d", run.step(), run.total_steps()));
  if (run.total_steps() > 0)
    parts.push_back(absl::StrFormat("%d%%", 100 * run.step() / run.total_steps()));
  if (HasLossOfItsStep(run))
    parts.push_back(absl::StrFormat("loss %.3f", run.last_metrics().loss()));
  if (const double bits = HeldOutBitsPerByte(run); bits > 0)
    parts.push_back(absl::StrFormat("held-out %.2f bits/byte", bits));
  if (Training(run)) {
    if (run.tokens_per_second() > 0)
      parts.push_back(FormatCount(run.tokens_per_second()) + " tok/s");
    if (run.eta_seconds() > 0) parts.push_back(FormatSeconds(run.eta_seconds()) + " left");
  } else if (!IsTerminal(run.state())) {  // the end is told by whoever waited for it
    const std::string state = ShownState(run);
    parts.push_back(run.reason().empty() ? state
                    : absl::StartsWith(run.reason(), absl::StrCat(state, " "))
                        ? run.reason()
                        : absl::StrCat(state, ": ", run.reason()));
  }
  return absl::StrJoin(parts, " ");
}

double Fraction(const v1::Run& run) {
  return run.total_steps() > 0
             ? static_cast<double>(run.step()) / static_cast<double>(run.total_steps())
             : 0;
}

}  // namespace

bool IsTerminal(v1::RunState state) {
  return state == v1::RUN_STATE_COMPLETED || state == v1::RUN_STATE_FAILED ||
         state == v1::RUN_STATE_CANCELLED;
}

bool HasLossOfItsStep(const v1::Run& run) {
  return run.has_last_metrics() && run.last_metrics().step() == run.step();
}

double HeldOutBitsPerByte(const v1::Run& run) {
  double bits = 0;
  for (const v1::EvaluationPoint& e : run.last_evaluation()) {
    if (bits == 0 || e.weights() == "averaged") bits = e.bits_per_byte();
    if (e.weights() == "averaged") break;
  }
  return bits;
}

std::string ShownState(const v1::Run& run) {
  if (run.state() == v1::RUN_STATE_RUNNING && !run.waiting_cause().empty()) return "waiting";
  const auto* value = v1::RunState_descriptor()->FindValueByNumber(run.state());
  return value == nullptr ? absl::StrCat(static_cast<int>(run.state())) : EnumName(*value);
}

std::string RenderProgressBar(const v1::Run& run, int width) {
  return Compose(run.name(), Fraction(run), Numbers(run), width);
}

std::string RenderProgressLine(const v1::Run& run) {
  return absl::StrCat(run.name(), " ", Numbers(run));
}

std::string RenderWorkBar(const std::string& what, uint64_t done, uint64_t total, int width) {
  const double fraction = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  return Compose(
      what, fraction,
      absl::StrFormat("%.0f%% %s of %s", 100 * fraction, FormatBytes(static_cast<double>(done)),
                      FormatBytes(static_cast<double>(total))),
      width);
}

ProgressPrinter::ProgressPrinter(Clock* clock, bool quiet)
    : ProgressPrinter(clock, quiet, isatty(STDERR_FILENO) != 0, kLineInterval) {}

ProgressPrinter::ProgressPrinter(Clock* clock, bool quiet, bool terminal,
                                 absl::Duration line_interval)
    : clock_(clock), quiet_(quiet), terminal_(terminal), line_interval_(line_interval) {}

ProgressPrinter::~ProgressPrinter() { Erase(); }

bool ProgressPrinter::DueNow(absl::Duration interval) {
  const absl::Duration now = clock_->Monotonic();
  if (now - last_ < interval) return false;
  last_ = now;
  return true;
}

void ProgressPrinter::Update(const v1::Run& run) {
  if (quiet_) return;
  if (terminal_) {
    if (DueNow(kBarInterval)) Show(RenderProgressBar(run, TerminalWidth() - 1));
    return;
  }
  pending_ = RenderProgressLine(run);
  if (pending_ != last_line_ && DueNow(line_interval_)) {
    std::fprintf(stderr, "%s\n", pending_.c_str());
    last_line_ = pending_;
  }
}

void ProgressPrinter::UpdateWork(const std::string& what, uint64_t done, uint64_t total) {
  if (quiet_ || !terminal_ || !DueNow(kBarInterval)) return;
  Show(RenderWorkBar(what, done, total, TerminalWidth() - 1));
}

void ProgressPrinter::Show(const std::string& bar) {
  std::fprintf(stderr, "\r\x1b[K%s", bar.c_str());
  std::fflush(stderr);
  bar_shown_ = true;
}

void ProgressPrinter::Erase() {
  if (!bar_shown_) return;
  std::fprintf(stderr, "\r\x1b[K");
  std::fflush(stderr);
  bar_shown_ = false;
}

void ProgressPrinter::Message(const std::string& text) {
  Erase();
  std::fprintf(stderr, "%s\n", text.c_str());
  if (terminal_) last_ = -absl::InfiniteDuration();  // the bar comes back with the next update
}

void ProgressPrinter::Finish() {
  Erase();
  if (!quiet_ && !terminal_ && !pending_.empty() && pending_ != last_line_)
    std::fprintf(stderr, "%s\n", pending_.c_str());
  pending_.clear();
}

}  // namespace tritter
