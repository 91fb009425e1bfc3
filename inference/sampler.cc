#include "inference/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "kernels/float_ops.h"

namespace tritter {
namespace {

// The count largest ids by (value, then smaller id), in that order.
std::vector<int32_t> Largest(absl::Span<const float> values, absl::Span<const int32_t> ids,
                             size_t count) {
  const auto before = [&](int32_t a, int32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  };
  count = std::min(count, ids.size());
  std::vector<int32_t> best(ids.begin(), ids.begin() + static_cast<int64_t>(count));
  if (count == 0) return best;
  if (count < ids.size() / 16) {  // one pass; few enter the heap, whose front is the last in order
    std::make_heap(best.begin(), best.end(), before);
    for (const int32_t id : ids.subspan(count)) {
      if (values[id] < values[best.front()] || !before(id, best.front())) continue;
      std::pop_heap(best.begin(), best.end(), before);
      best.back() = id;
      std::push_heap(best.begin(), best.end(), before);
    }
    std::sort_heap(best.begin(), best.end(), before);
    return best;
  }
  best.assign(ids.begin(), ids.end());
  std::nth_element(best.begin(), best.begin() + static_cast<int64_t>(count) - 1, best.end(),
                   before);
  best.resize(count);
  std::sort(best.begin(), best.end(), before);
  return best;
}

std::vector<int32_t> AllIds(size_t n) {
  std::vector<int32_t> ids(n);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

// The smallest float above 0 that is not less than min_p.
float LeastWeight(double min_p) {
  const float least = static_cast<float>(min_p);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (least <= 0) return std::numeric_limits<float>::denorm_min();
  return least < min_p ? std::nextafter(least, kInfinity) : least;
}

// Steps 1 to 4 of docs/numerics.md in place.
void AdjustLogits(const SamplingParams& params, const TokenCounts& counts, const TokenMask* allowed,
                  absl::Span<float> logits) {
  // Sums and products stay numbers.
  const auto finite = [](float x) {
    constexpr float kMost = std::numeric_limits<float>::max();
    return std::clamp(x, -kMost, kMost);
  };
  for (const LogitBias& b : params.logit_bias) {
    float& l = logits[static_cast<size_t>(b.id)];
    l = finite(l + static_cast<float>(b.bias));
  }
  if (params.uses_counts()) {
    const float repetition = static_cast<float>(params.repetition_penalty);
    for (const auto& [id, generated] : counts) {  // each by itself: the order does not matter
      float& l = logits[static_cast<size_t>(id)];
      l = finite(l > 0 ? l / repetition : l * repetition);
      if (generated == 0) continue;
      const double off = params.presence_penalty + params.frequency_penalty * generated;
      l = finite(l - static_cast<float>(off));
    }
  }
  if (allowed == nullptr) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!allowed->Has(static_cast<int32_t>(i))) logits[i] = -std::numeric_limits<float>::infinity();
  }
}

absl::Status CheckRange(absl::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();  // not of NaN
  return absl::InvalidArgumentError(
      absl::StrCat("sampling.", name, " is ", value, ", allowed are ", low, " to ", high));
}

}  // namespace

absl::Status ValidateSampling(const SamplingParams& params, int64_t vocabulary) {
  if (!(params.temperature >= 0 && params.temperature <= 100)) {
    return absl::InvalidArgumentError(absl::StrCat("sampling.temperature is ", params.temperature,
                                                   ", allowed are 0 (greedy) to 100"));
  }
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampling.top_p is ", params.top_p, ", allowed are values in (0, 1]"));
  }
  if (params.top_k < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampling.top_k is ", params.top_k, ", allowed are 0 (no limit) and more"));
  }
  RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0, 1));
  RETURN_IF_ERROR(CheckRange("repetition_penalty", params.repetition_penalty, 0.01, 100));
  RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -2, 2));
  RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -2, 2));
  if (params.logit_bias.size() > kMaxLogitBiases) {
    return absl::InvalidArgumentError(absl::StrCat("sampling.logit_bias has ",
                                                   params.logit_bias.size(), " ids, at most ",
                                                   kMaxLogitBiases, " are allowed"));
  }
  for (const LogitBias& b : params.logit_bias) {
    if (b.id < 0 || b.id >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("sampling.logit_bias names token ", b.id,
                                                     ", the model's token ids are 0 to ",
                                                     vocabulary - 1));
    }
    RETURN_IF_ERROR(CheckRange(absl::StrCat("logit_bias[", b.id, "]"), b.bias, -100, 100));
  }
  return absl::OkStatus();
}

int32_t Greedy(absl::Span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<int32_t>(best);
}

absl::Status CheckFinite(absl::Span<const float> logits, int64_t position) {
  uint32_t bad = 0;
  for (const float l : logits) bad |= static_cast<uint32_t>(!(l - l == 0));  // no early end: fast
  if (bad == 0) return absl::OkStatus();
  size_t id = 0;
  while (std::isfinite(logits[id])) ++id;
  return absl::InternalError(absl::StrCat(
      "position ", position, ": logit of token ", id, ": expected a finite number, actual ",
      logits[id], "; check the model with: tritterctl verify, or export an earlier checkpoint"));
}

int32_t Sample(absl::Span<const float> logits, const SamplingParams& params, int64_t position,
               const TokenCounts& counts, const TokenMask* allowed) {
  // Of the size of the vocabulary: kept from token to token.
  static thread_local std::vector<float> adjusted, weights;
  static thread_local std::vector<int32_t> ids;
  if (allowed != nullptr || params.uses_counts() || !params.logit_bias.empty()) {
    adjusted.assign(logits.begin(), logits.end());
    AdjustLogits(params, counts, allowed, absl::MakeSpan(adjusted));
    logits = adjusted;
  }
  const int32_t best = Greedy(logits);
  if (params.temperature == 0 || params.top_k == 1) return best;
  // Weights relative to the best token; float, with our own exp, so that every machine gets the
  // same ones.
  weights.resize(logits.size());
  const float inverse = static_cast<float>(1.0 / std::max(params.temperature, 1e-6));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = (logits[i] - logits[best]) * inverse;
  ExpRow(weights.data(), static_cast<int64_t>(weights.size()), weights.data());

  // A weight of 0 has no part in the draw.
  const float least = LeastWeight(params.min_p);
  ids.resize(logits.size());
  size_t kept = 0;
  const auto keep_if_likely = [&](int32_t id) {
    ids[kept] = id;
    kept += weights[id] >= least;
  };
  if (allowed != nullptr) {
    allowed->ForEach(keep_if_likely);
  } else {
    for (size_t i = 0; i < weights.size(); ++i) keep_if_likely(static_cast<int32_t>(i));
  }
  ids.resize(kept);
  if (params.top_k > 0 && params.top_k < static_cast<int64_t>(ids.size()))
    ids = Largest(logits, ids, static_cast<size_t>(params.top_k));
  double mass = 0;
  for (int32_t id : ids) mass += weights[id];
  if (params.top_p < 1) {
    const double wanted = params.top_p * mass;
    // The nucleus is small as a rule: order a few candidates first, more only when they do not
    // suffice.
    for (size_t count = 256;; count *= 8) {
      std::vector<int32_t> ordered = Largest(logits, ids, count);
      double sum = 0;
      size_t keep = 0;
      while (keep < ordered.size() && sum < wanted) sum += weights[ordered[keep++]];
      if (sum >= wanted || ordered.size() == ids.size()) {
        ordered.resize(std::max<size_t>(keep, 1));
        ids = std::move(ordered);
        mass = sum;
        break;
      }
    }
  }
  Philox random(MixKey(params.seed, static_cast<uint64_t>(position)));
  const double target = random.Uniform() * mass;
  double sum = 0;
  int32_t chosen = best;
  for (int32_t id : ids) {
    chosen = id;
    sum += weights[id];
    if (sum > target) break;
  }
  return chosen;
}

// Logits, weights and ids are kept by the thread; the other two are orders of ids.
int64_t SampleBytes(int64_t vocabulary) {
  return vocabulary * static_cast<int64_t>(3 * sizeof(float) + 2 * sizeof(int32_t));
}

PositionScore ScorePosition(absl::Span<const float> logits, int32_t id, int64_t top) {
  const double max = logits[Greedy(logits)];
  const double n = static_cast<double>(logits.size());
  double sum = 0, mean = 0, squares = 0;
  for (float l : logits) {
    sum += std::exp(l - max);
    mean += l;
  }
  mean /= n;
  for (float l : logits) squares += (l - mean) * (l - mean);
  const double log_sum = max + std::log(sum);
  PositionScore score{id, logits[id] - log_sum, {}, std::sqrt(squares / n)};
  if (top > 0) {
    for (int32_t c : Largest(logits, AllIds(logits.size()), static_cast<size_t>(top))) {
      score.top.push_back({c, logits[c], logits[c] - log_sum});
    }
  }
  return score;
}

}  // namespace tritter
