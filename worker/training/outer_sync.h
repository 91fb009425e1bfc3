// Rounds of local steps with one outer step at the end of each, on the displacements of all ranks
// (training.sync: outer): local SGD with an outer optimiser as in DiLoCo (Douillard et al. 2023,
// arXiv:2311.08105).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/run_spec.h"
#include "worker/collective.h"
#include "worker/training/float_buffer.h"
#include "worker/training/parameter_store.h"
#include "worker/training/trainer.h"

namespace tritter {

// A round begins with the same weights on every rank, the anchor w. Each rank takes its optimiser
// steps on its own part of the batches and comes to v. At the end of the round the ranks gather
// what each was displaced by, s = w - v, in FP32 or in eight bits with error feedback
// (kernels/displacement_codec.h), and every rank forms, in the order of the ranks, the mean s̄
// weighted by the weight of the tokens that each trained on. The next anchor is (rate η, momentum
// μ)
//   b <- μ b + s̄
//   w - s̄ + (1 - η) s̄ - η μ b        which is w - η (s̄ + μ b), Nesterov's
// and w - s̄ with η = 1, μ = 0, and always at the end of the run. A rank that is alone and sends
// FP32 keeps v itself, bit for bit. Moments of the optimiser stay each rank's own. The averaged
// weights follow the anchors: one update a round with the decay of its steps together, so that they
// are the same on all ranks and nothing is sent for them.
//
// Rounds end where RoundEnd says (model/run_spec.h). Owned by the trainer of whatever device, used
// by the training thread; all of it is computed by the host. Between rounds nothing but the anchor,
// which equals the weights, is kept here. The rest is the optimiser's state.
class OuterSync {
 public:
  // `slots` outlive it.
  OuterSync(const RunSpec& spec, const std::vector<ParameterSlot>& slots)
      : spec_(spec), slots_(slots), size_(slots.back().offset + slots.back().size) {}

  // A round begins from these weights, in the order of the parameters. Forgets the steps of a round
  // that was left.
  void Begin(const float* weights);
  // Steps of the round so far.
  int64_t steps() const { return static_cast<int64_t>(own_.size()); }
  // Errors: FailedPrecondition (inside a round: the state after `step` steps is no checkpoint's).
  absl::Status CheckBetweenRounds(int64_t step) const;

  // This rank has taken a step: Σ w ℓ and Σ w over its own predicted tokens, norm of its gradient.
  void AddStep(double loss_sum, double weight, double gradient_norm);

  struct Ended {
    std::vector<StepLoss> steps;  // of the whole group, oldest first
    bool yield = false;           // some rank wishes it
  };
  // What the end of a round changes, in the host's memory, in the order of the parameters.
  struct Arrays {
    float* weights = nullptr;
    float* average = nullptr;
    float* residual = nullptr;  // null where the run keeps none (KeepsResidual), likewise:
    float* momentum = nullptr;
  };
  // All ranks together, after step `step` (counted from 1), where a round ends: the outer step, the
  // averages, and the next round begins. Errors: the collective's; Internal (a displacement that is
  // not finite, naming the tensor); InvalidArgument (a step of whose batch no rank predicted a
  // token). The weights are undefined after an error.
  absl::StatusOr<Ended> EndRound(int64_t step, bool wishes_to_yield, Collective* collective,
                                 const Arrays& arrays);

  // How every trainer ends step `step` (counted from 1) of this rank: AddStep with the norm that
  // stands in `stats`; where the round ends with it, `end_round`, which calls EndRound, and
  // what the steps were for the group goes to `stats`. Errors: those of `end_round`.
  absl::Status Settle(int64_t step, double loss_sum, double weight,
                      const std::function<absl::StatusOr<Ended>()>& end_round, StepStats* stats);

 private:
  struct OwnStep {
    double loss_sum, weight, gradient_norm;
  };
  // Share of each rank in the mean; fills in `ended`.
  absl::StatusOr<std::vector<float>> ExchangeSteps(int64_t step, bool wishes_to_yield,
                                                   Collective* collective, Ended* ended) const;
  // Values [first, first + count) of the weights: to the next anchor.
  absl::Status Move(int64_t first, int64_t count, bool plain, const std::vector<float>& shares,
                    Collective* collective, const Arrays& arrays);
  // Mean displacement of values [first, first + count), into mean_.
  absl::Status GatherMean(int64_t first, int64_t count, const std::vector<float>& shares,
                          const float* weights, Collective* collective, float* residual);

  // Names the tensor of bad_.
  absl::Status NotFinite(int64_t step) const;

  const RunSpec spec_;
  const std::vector<ParameterSlot>& slots_;
  const int64_t size_;  // of all parameters
  FloatBuffer anchor_;
  // Of one piece, kept from round to round: this rank's displacement, then another's as it was
  // decoded; the mean; what is sent; what all have sent.
  FloatBuffer piece_, mean_, sent_, gathered_;
  int64_t bad_ = -1;  // the first value of this rank's displacement that is not finite
  std::vector<OwnStep> own_;
};

}  // namespace tritter
