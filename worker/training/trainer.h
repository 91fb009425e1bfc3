// One rank's training state and arithmetic: network, optimiser, averaged weights. LibTorch stays
// behind it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/checkpoint_store.h"
#include "model/run_spec.h"
#include "worker/collective.h"

namespace tritter {

// Sequences of one rank for one optimiser step.
struct Batch {
  int64_t sequences = 0;
  std::vector<int64_t> tokens;  // [sequences, L + 1]
  std::vector<float> weights;   // [sequences, L]: of each predicted token, that of its document
};

struct StepLoss {
  double loss = 0;       // Σwℓ/Σw over the whole global batch, nats per token
  double grad_norm = 0;  // global, before clipping; with sync outer the weighted mean of the ranks'
};

struct StepStats : StepLoss {
  double forward_seconds = 0, backward_seconds = 0, reduce_seconds = 0, optimizer_seconds = 0;
  bool yield = false;  // some rank wishes the group to stop after this step; the same on every rank
  // With sync outer nothing is exchanged before a round ends: until then `settled` is false, loss
  // and norm are this rank's own and nobody stops. The last step of a round has in `round` what all
  // its steps were for the group, itself included, oldest first.
  bool settled = true;
  std::vector<StepLoss> round;
};

struct EvaluationResult {
  double nats = 0;     // summed over this rank's windows and then over the ranks
  int64_t tokens = 0;  // predicted tokens
  // Tokens that the attention mode does not predict: a prefix, the first of a packed document.
  int64_t not_predicted = 0;
};

// An immutable copy of this rank's share of the state, taken between steps; writing it needs no
// lock and no LibTorch call. Tensors are divided over the ranks by size.
class TrainerSnapshot {
 public:
  virtual ~TrainerSnapshot() = default;
  virtual int64_t step() const = 0;
  // Puts the share (safetensors) into the attempt, which has begun.
  virtual absl::StatusOr<std::vector<ManifestFile>> WriteShare(
      CheckpointStore* store, const CheckpointAttempt& attempt) const = 0;
};

// Payload of the status of a step whose loss or gradient is not finite: the first bad tensor.
inline constexpr char kFirstBadTensor[] = "tritter/first_bad_tensor";

// Not thread-safe: one training thread. Owned by the epoch that is at work, and between two epochs
// by the worker, so that a state need not be read from a checkpoint.
class Trainer {
 public:
  struct Options {
    RunSpec spec;
    Collective* collective = nullptr;  // not owned
    int threads = 1;
    // The group has trainers that round in ways of their own, those of CPUs and of GPUs first of
    // all. So all exchange the same, in the same order and sizes, and take updated weights from
    // their owner (the optimiser must be sharded, but for sync outer).
    bool mixed_devices = false;
  };
  // Errors: InvalidArgument (configuration), ResourceExhausted (memory, with figures).
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const Options& options);
  virtual ~Trainer() = default;

  // Weights as a pure function of spec.seed and the parameter's name; zero moments; step 0.
  virtual absl::Status InitialiseFresh() = 0;
  // Restores weights, moments, averages and step, bit for bit. Any world size may have written it.
  virtual absl::Status Load(const CheckpointReader& checkpoint) = 0;

  // One optimiser step on this rank's share of the global batch. weight_sum: Σw over the predicted
  // tokens of the whole global batch. micro_batch: sequences per pass. Advances step() by one.
  // Aborted/Unavailable: the collective failed, the state is then undefined (leave the epoch).
  // Internal: non-finite loss or gradient, naming the first bad tensor in the order in which they
  // were computed, also in the payload kFirstBadTensor.
  virtual absl::StatusOr<StepStats> Step(const Batch& batch, double weight_sum, int64_t micro_batch,
                                         double learning_rate) = 0;
  virtual int64_t step() const = 0;  // optimiser steps done

  // Whether this rank wishes the group to stop soon: asked, from the training thread, in the
  // exchange of every step, where the wishes travel with the sum of the losses. Null: never.
  void set_yield_wish(std::function<bool()> wish) { yield_wish_ = std::move(wish); }

  // --- a state that outlives its group ---

  // The state is that after step() steps and this rank has all of it: no step was left while it
  // changed the weights, the optimiser is not sharded, and no rank has moments of its own (sync
  // outer).
  virtual bool whole() const = 0;
  // The group is another one from now on; null: there is none, and nothing but step(), whole(),
  // Rebind and the destructor may be called. Only while the trainer is whole, or before it has a
  // state.
  virtual void Rebind(Collective* collective) = 0;
  // All ranks together: those that `take` get the state of `root`, bit for bit; the others keep
  // theirs. Errors: the collective's (who takes is not whole then).
  virtual absl::Status ShareState(int root, bool take) = 0;

  // Loss over windows given one after the other by `next` (false at the end), each L + 1 tokens or
  // fewer; padded target positions are -1. averaged: with the averaged weights. The arithmetic is
  // that of serving (same kernels, same bits).
  virtual absl::StatusOr<EvaluationResult> Evaluate(
      const std::function<bool(std::vector<int64_t>* window)>& next, bool averaged) = 0;
  // Logits of every position, [positions, V], through the serving arithmetic. Of the averaged
  // weights of a sharded optimiser all ranks ask together: no rank has them whole.
  virtual absl::StatusOr<std::vector<float>> Logits(absl::Span<const int64_t> tokens,
                                                    bool averaged) = 0;

  // Errors: FailedPrecondition (inside a round of sync outer).
  virtual absl::StatusOr<std::unique_ptr<TrainerSnapshot>> Snapshot() = 0;
  // SHA-256 over every weight, moment and average in canonical order: equal states, equal hash.
  // With sync outer that of this rank's own. Of a sharded state all ranks call it together. Errors:
  // the collective's.
  virtual absl::StatusOr<std::string> StateHash() = 0;
  virtual std::string description() const = 0;  // "cpu, fp32, avx512 …" for the log

 protected:
  bool WishesToYield() const { return yield_wish_ != nullptr && yield_wish_(); }

 private:
  std::function<bool()> yield_wish_;
};

}  // namespace tritter
