#include "worker/training/outer_sync.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/displacement_codec.h"
#include "kernels/optimizer_ops.h"
#include "worker/training/optimizer.h"
#include "worker/training/trainer_checks.h"

namespace tritter {
namespace {

// Values that are gathered at a time, 4 MiB in FP32: memory for all ranks' is needed for one piece.
constexpr int64_t kPiece = int64_t{1} << 20;
static_assert(kPiece % kDisplacementChunk == 0);

constexpr int64_t kFloat = sizeof(float);

}  // namespace

void OuterSync::Begin(const float* weights) {
  std::memcpy(anchor_.Reserve(size_), weights, size_ * kFloat);
  own_.clear();
}

absl::Status OuterSync::CheckBetweenRounds(int64_t step) const {
  if (steps() == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "a checkpoint of step ", step, " was asked for, inside a round of ", spec_.outer_steps,
      " steps (sync outer), which ends at ", RoundEnd(spec_, step), "; ranks differ until then"));
}

void OuterSync::AddStep(double loss_sum, double weight, double gradient_norm) {
  own_.push_back({loss_sum, weight, gradient_norm});
}

absl::StatusOr<std::vector<float>> OuterSync::ExchangeSteps(int64_t step, bool wishes_to_yield,
                                                            Collective* collective,
                                                            Ended* ended) const {
  std::vector<double> own = {wishes_to_yield ? 1.0 : 0.0};
  for (const OwnStep& s : own_) own.insert(own.end(), {s.loss_sum, s.weight, s.gradient_norm});
  const int world = collective->world_size();
  std::vector<double> all(own.size() * world);
  RETURN_IF_ERROR(collective->AllGather(
      own.data(), static_cast<int64_t>(own.size() * sizeof(double)), all.data()));
  std::vector<double> weights(world, 0.0);
  double total = 0;
  for (size_t i = 0; i < own_.size(); ++i) {
    double loss = 0, weight = 0, norm = 0;
    for (int rank = 0; rank < world; ++rank) {
      const double* theirs = all.data() + rank * own.size() + 1 + 3 * i;
      loss += theirs[0];
      weight += theirs[1];
      norm += theirs[1] * theirs[2];
      weights[rank] += theirs[1];
    }
    if (!(weight > 0)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the batch of step ", step - static_cast<int64_t>(own_.size() - i),
          " has no token to predict on any rank; give longer sequences, longer documents or a "
          "shorter prefix"));
    }
    ended->steps.push_back({loss / weight, norm / weight});
    total += weight;
  }
  std::vector<float> shares;
  for (int rank = 0; rank < world; ++rank) {
    ended->yield = ended->yield || all[rank * own.size()] > 0;
    shares.push_back(static_cast<float>(weights[rank] / total));
  }
  return shares;
}

absl::Status OuterSync::GatherMean(int64_t first, int64_t count, const std::vector<float>& shares,
                                   const float* weights, Collective* collective, float* residual) {
  const int world = collective->world_size();
  float* const piece = piece_.Reserve(std::min(kPiece, anchor_.size()));
  float* const mean = mean_.Reserve(std::min(kPiece, anchor_.size()));
  for (int64_t i = 0; i < count; ++i) piece[i] = anchor_.data()[first + i] - weights[first + i];
  const int64_t bytes = residual != nullptr ? EncodedDisplacementBytes(count) : count * kFloat;
  const void* sent = piece;
  if (residual != nullptr) {
    uint8_t* const encoded =
        reinterpret_cast<uint8_t*>(sent_.Reserve((bytes + kFloat - 1) / kFloat));
    bad_ = EncodeDisplacement(piece, count, residual + first, encoded);
    sent = encoded;
  } else {
    const float* const bad =
        std::find_if(piece, piece + count, [](float x) { return !std::isfinite(x); });
    bad_ = bad == piece + count ? -1 : bad - piece;
  }
  if (bad_ >= 0) {
    bad_ += first;
    return absl::InternalError("not finite");
  }
  uint8_t* const all =
      reinterpret_cast<uint8_t*>(gathered_.Reserve((bytes * world + kFloat - 1) / kFloat));
  RETURN_IF_ERROR(collective->AllGather(sent, bytes, all));
  std::fill(mean, mean + count, 0.0f);
  for (int rank = 0; rank < world; ++rank) {
    if (residual != nullptr) {
      DecodeDisplacement(all + rank * bytes, count, piece);
    } else {
      std::memcpy(piece, all + rank * bytes, bytes);
    }
    const float share = shares[rank];
    for (int64_t i = 0; i < count; ++i) mean[i] += share * piece[i];
  }
  return absl::OkStatus();
}

absl::Status OuterSync::Move(int64_t first, int64_t count, bool plain,
                             const std::vector<float>& shares, Collective* collective,
                             const Arrays& arrays) {
  RETURN_IF_ERROR(GatherMean(first, count, shares, arrays.weights, collective, arrays.residual));
  // The mean of one is itself; anchor - (anchor - v) may be rounded.
  const bool own = collective->world_size() == 1 && arrays.residual == nullptr;
  const float* const anchor = anchor_.data() + first;
  const float* const s = mean_.data();
  float* const w = arrays.weights + first;
  if (!own) {
    for (int64_t i = 0; i < count; ++i) w[i] = anchor[i] - s[i];
  }
  if (plain) return absl::OkStatus();
  const float rate = static_cast<float>(spec_.outer_rate),
              momentum = static_cast<float>(spec_.outer_momentum);
  if (arrays.momentum == nullptr) {
    for (int64_t i = 0; i < count; ++i) w[i] += (1.0f - rate) * s[i];
    return absl::OkStatus();
  }
  float* const b = arrays.momentum + first;
  for (int64_t i = 0; i < count; ++i) {
    b[i] = momentum * b[i] + s[i];
    w[i] += (1.0f - rate) * s[i] - rate * momentum * b[i];
  }
  return absl::OkStatus();
}

absl::StatusOr<OuterSync::Ended> OuterSync::EndRound(int64_t step, bool wishes_to_yield,
                                                     Collective* collective, const Arrays& arrays) {
  Ended ended;
  ASSIGN_OR_RETURN(const std::vector<float> shares,
                   ExchangeSteps(step, wishes_to_yield, collective, &ended));
  const bool plain =
      step >= spec_.steps || (spec_.outer_rate == 1.0 && spec_.outer_momentum == 0.0);
  for (int64_t first = 0; first < size_; first += kPiece) {
    const absl::Status moved =
        Move(first, std::min(kPiece, size_ - first), plain, shares, collective, arrays);
    if (bad_ >= 0) return NotFinite(step);
    RETURN_IF_ERROR(moved);
  }
  double decay = 1;
  for (int64_t s = step - steps() + 1; s <= step; ++s) decay *= AverageDecay(s, spec_.ema_window);
  AverageRows(static_cast<float>(decay), arrays.weights, size_, arrays.average);
  Begin(arrays.weights);
  return ended;
}

absl::Status OuterSync::Settle(int64_t step, double loss_sum, double weight,
                               const std::function<absl::StatusOr<Ended>()>& end_round,
                               StepStats* stats) {
  AddStep(loss_sum, weight, stats->grad_norm);
  stats->settled = RoundEnd(spec_, step) == step;
  if (!stats->settled) return absl::OkStatus();
  ASSIGN_OR_RETURN(Ended ended, end_round());
  static_cast<StepLoss&>(*stats) = ended.steps.back();
  stats->yield = ended.yield;
  stats->round = std::move(ended.steps);
  return absl::OkStatus();
}

absl::Status OuterSync::NotFinite(int64_t step) const {
  for (const ParameterSlot& slot : slots_) {
    if (bad_ >= slot.offset + slot.size) continue;
    const std::string tensor =
        absl::StrCat("displacement of ", slot.spec.name, " (element ", bad_ - slot.offset, ")");
    return NonFiniteError(
        absl::StrCat("the displacement of the round that ends with step ", step, " is not finite"),
        tensor);
  }
  return absl::InternalError("a displacement is not finite");
}

}  // namespace tritter
