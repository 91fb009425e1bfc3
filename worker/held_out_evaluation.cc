#include "worker/held_out_evaluation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/plan_cursor.h"

namespace tritter {

namespace {

absl::StatusOr<EvaluationReport> EvaluateSource(Trainer* trainer, EpochData* data, size_t index,
                                                const WindowShare& share, Collective* collective,
                                                const Cancellation& cancellation, bool averaged,
                                                Clock* clock) {
  const EpochData::HeldOut& source = data->held_out()[index];
  const absl::Duration start = clock->Monotonic();
  absl::Status reading;
  bool stopped = false;
  const auto windows = data->Windows(index, share, &reading);
  const auto result = trainer->Evaluate(
      [&](std::vector<int64_t>* window) {
        stopped = stopped || cancellation.cancelled();
        return !stopped && windows(window);
      },
      averaged);
  RETURN_IF_ERROR(result.status());
  // A rank that gives up must not leave the others alone in the sum: it took part, which makes the
  // sum worthless, and says so now.
  double gave_up = stopped || !reading.ok() ? 1.0 : 0.0;
  const absl::Status told = collective->AllReduceSum(&gave_up, 1);
  RETURN_IF_ERROR(Annotate(reading, source.source));
  if (stopped) return absl::AbortedError(cancellation.cause().message());
  RETURN_IF_ERROR(told);
  if (gave_up > 0) {
    return absl::UnavailableError(absl::StrCat(source.source, ": the evaluation of step ",
                                               trainer->step(), " has no figures, ", gave_up,
                                               " other ranks have not read all of their windows"));
  }
  EvaluationReport report;
  report.step = trainer->step();
  report.source = source.source;
  report.averaged = averaged;
  report.tokens = result->tokens;
  report.raw_bytes = source.raw_bytes;
  report.loss = result->tokens > 0 ? result->nats / static_cast<double>(result->tokens) : 0.0;
  // Bytes that are given and not predicted cost nothing and do not count.
  const double predicted =
      static_cast<double>(result->tokens) /
      std::max(1.0, static_cast<double>(result->tokens + result->not_predicted));
  report.bits_per_byte =
      BitsPerByte(result->nats, std::llround(static_cast<double>(source.raw_bytes) * predicted));
  report.seconds = absl::ToDoubleSeconds(clock->Monotonic() - start);
  return report;
}

}  // namespace

absl::StatusOr<std::vector<EvaluationReport>> EvaluateHeldOut(Trainer* trainer, EpochData* data,
                                                              const WindowShare& share,
                                                              Collective* collective,
                                                              const Cancellation& cancellation,
                                                              bool raw, Clock* clock) {
  std::vector<EvaluationReport> reports;
  for (const bool averaged : {true, false}) {
    if (!averaged && !raw) continue;
    for (size_t i = 0; i < data->held_out().size(); ++i) {
      ASSIGN_OR_RETURN(EvaluationReport report, EvaluateSource(trainer, data, i, share, collective,
                                                               cancellation, averaged, clock));
      reports.push_back(std::move(report));
    }
  }
  return reports;
}

}  // namespace tritter
