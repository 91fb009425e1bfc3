// What every trainer checks of its input, and how it turns failures of LibTorch into statuses.
#pragma once

#include <c10/util/Exception.h>

#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "model/run_spec.h"
#include "worker/training/trainer.h"

namespace tritter {

// Errors: InvalidArgument (no collective, a model or sequence length that cannot be), those of
// CheckTrainable.
absl::Status CheckTrainerOptions(const Trainer::Options& options);
// Errors: InvalidArgument (sizes that do not fit, a token outside the vocabulary).
absl::Status CheckBatch(const RunSpec& spec, const Batch& batch, double weight_sum,
                        int64_t micro_batch);

// Σw over the tokens that the whole global batch predicts, of which this rank has `batch`:
// `weight_sum`, Σw over all of them, less those that the attention mode leaves out. Every rank
// takes part. With sync outer and several ranks, which take their steps alone, that of `batch`: it
// may be zero, and nothing is exchanged. Errors: InvalidArgument (none is predicted), the
// collective's.
absl::StatusOr<double> PredictedWeight(const RunSpec& spec, const Batch& batch, double weight_sum,
                                       Collective* collective);

// 1 / Σw and Σwℓ / Σw; of a batch without a token to predict its gradient and its loss are zero.
inline double PerWeight(double weight_sum) { return weight_sum > 0 ? 1.0 / weight_sum : 0.0; }
inline double MeanLoss(double loss_sum, double weight_sum) {
  return weight_sum > 0 ? loss_sum / weight_sum : 0.0;
}

// The last exchange of a step before the weights change: stats->loss becomes the sum over the ranks
// and, in the same message, stats->yield whether any of them wishes to yield and stats->grad_norm
// rank 0's, bit for bit: processors of two kinds may sum up the same gradient in other orders, and
// all must clip it alike. Errors: the collective's.
absl::Status ExchangeLoss(bool wishes_to_yield, Collective* collective, StepStats* stats);

// Internal, with the tensor also in the payload kFirstBadTensor.
absl::Status NonFiniteError(absl::string_view what, const std::string& tensor);

// LibTorch and the allocators throw; what leaves a trainer is a status.
template <typename Act>
auto CatchFailures(const std::string& where, absl::string_view hint, const Act& act)
    -> decltype(act()) {
  try {
    return act();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("out of memory in ", where, "; ", hint));
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(absl::StrCat("out of memory in ", where, "; ", hint, " (",
                                                     error.what_without_backtrace(), ")"));
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("LibTorch in ", where, ": ", error.what_without_backtrace()));
  }
}

}  // namespace tritter
