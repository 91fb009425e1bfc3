#include "worker/held_out_evaluation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/status_macros.h"
#include "worker/plan_cursor.h"

namespace tritter {

namespace {

absl::StatusOr<EvaluationReport> EvaluateSource(Trainer* trainer, EpochData* data, size_t index,
                                                int rank, int world_size, bool averaged,
                                                Clock* clock) {
  const EpochData::HeldOut& source = data->held_out()[index];
  const absl::Duration start = clock->Monotonic();
  absl::Status reading;
  auto result = trainer->Evaluate(data->Windows(index, rank, world_size, &reading), averaged);
  // A rank that cannot read must not leave the others alone in the sum: it took part, and says so
  // now.
  RETURN_IF_ERROR(Annotate(reading, source.source));
  if (!result.ok()) return result.status();
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
                                                              int rank, int world_size, bool raw,
                                                              Clock* clock) {
  std::vector<EvaluationReport> reports;
  for (const bool averaged : {true, false}) {
    if (!averaged && !raw) continue;
    for (size_t i = 0; i < data->held_out().size(); ++i) {
      ASSIGN_OR_RETURN(EvaluationReport report,
                       EvaluateSource(trainer, data, i, rank, world_size, averaged, clock));
      reports.push_back(std::move(report));
    }
  }
  return reports;
}

}  // namespace tritter
