#include "worker/training/trainer_checks.h"

#include "absl/strings/cord.h"
#include "common/status_macros.h"
#include "worker/training/attention_rule.h"

namespace tritter {

absl::Status CheckTrainerOptions(const Trainer::Options& options) {
  if (options.collective == nullptr)
    return absl::InvalidArgumentError("a trainer needs a collective");
  const RunSpec& spec = options.spec;
  RETURN_IF_ERROR(ValidateConfig(spec.model));
  RETURN_IF_ERROR(CheckTrainable(spec.model));
  if (spec.sequence_length < 1 || spec.sequence_length > spec.model.context) {
    return absl::InvalidArgumentError(absl::StrCat("training.sequence_length is ",
                                                   spec.sequence_length, ", expected 1 to ",
                                                   spec.model.context, " (model.context)"));
  }
  if (options.mixed_devices && !IsOuter(spec) && !spec.shard_optimizer) {
    return absl::InvalidArgumentError(
        "a group of CPUs and GPUs needs a sharded optimiser: they round an update otherwise");
  }
  return absl::OkStatus();
}

absl::Status NonFiniteError(absl::string_view what, const std::string& tensor) {
  absl::Status status = absl::InternalError(absl::StrCat(what, "; first bad tensor: ", tensor));
  status.SetPayload(kFirstBadTensor, absl::Cord(tensor));
  return status;
}

absl::Status CheckBatch(const RunSpec& spec, const Batch& batch, double weight_sum,
                        int64_t micro_batch) {
  const int64_t length = spec.sequence_length;
  if (batch.sequences < 1 ||
      static_cast<int64_t>(batch.tokens.size()) != batch.sequences * (length + 1) ||
      static_cast<int64_t>(batch.weights.size()) != batch.sequences * length) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch of ", batch.sequences, " sequences has ", batch.tokens.size(),
                     " tokens and ", batch.weights.size(), " weights, expected ", length + 1,
                     " tokens and ", length, " weights each"));
  }
  if (micro_batch < 1 || !(weight_sum > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("micro_batch ", micro_batch, " and weight sum ",
                                                   weight_sum, " must be positive"));
  }
  for (int64_t token : batch.tokens) {
    if (token < 0 || token >= spec.model.vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", token, " is outside the vocabulary of ", spec.model.vocab,
                       "; were the shards made with another tokenizer?"));
    }
  }
  return absl::OkStatus();
}

namespace {
// Σw over the tokens of this rank that the attention mode predicts.
double OwnWeight(const RunSpec& spec, const Batch& batch) {
  const int64_t length = spec.sequence_length;
  double sum = 0;
  for (int64_t s = 0; s < batch.sequences; ++s) {
    for (int64_t t = 0; t < length; ++t) {
      if (PredictsNext(spec.model, t, batch.tokens[s * (length + 1) + t]))
        sum += batch.weights[s * length + t];
    }
  }
  return sum;
}
}  // namespace

absl::StatusOr<double> PredictedWeight(const RunSpec& spec, const Batch& batch, double weight_sum,
                                       Collective* collective) {
  if (IsOuter(spec) && collective->world_size() > 1) return OwnWeight(spec, batch);
  const AttentionMode mode = spec.model.attention;
  if (mode != AttentionMode::kPrefixLm && mode != AttentionMode::kDocument) return weight_sum;
  double sum = OwnWeight(spec, batch);
  RETURN_IF_ERROR(collective->AllReduceSum(&sum, 1));
  if (sum > 0) return sum;
  return absl::InvalidArgumentError(
      absl::StrCat("the batch has no token to predict under attention ", AttentionModeName(mode),
                   " (sequences of ", spec.sequence_length, " tokens, prefix ", spec.model.prefix,
                   "); give longer sequences, longer documents or a shorter prefix"));
}

absl::Status ExchangeLoss(bool wishes_to_yield, Collective* collective, StepStats* stats) {
  // A norm and zeros: the sum is exact.
  double sums[3] = {stats->loss, wishes_to_yield ? 1.0 : 0.0,
                    collective->rank() == 0 ? stats->grad_norm : 0.0};
  RETURN_IF_ERROR(collective->AllReduceSum(sums, 3));
  stats->loss = sums[0];
  stats->yield = sums[1] > 0;
  stats->grad_norm = sums[2];
  return absl::OkStatus();
}

}  // namespace tritter
