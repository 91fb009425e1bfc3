#include "inference/sequence.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tritter {

Sequence::Sequence(Kind kind, std::vector<int32_t> tokens, std::shared_ptr<RequestChannel> channel,
                   const Tokenizer* tokenizer, absl::Duration now, absl::Duration timeout)
    : kind_(kind),
      tokens_(std::move(tokens)),
      prompt_tokens_(static_cast<int64_t>(tokens_.size())),
      channel_(std::move(channel)),
      tokenizer_(tokenizer),
      decoder_(tokenizer),
      matcher_({}),
      submitted_(now),
      deadline_(now + timeout) {}

Sequence::Sequence(GenerateParams params, std::shared_ptr<RequestChannel> channel,
                   const Tokenizer* tokenizer, std::unique_ptr<JsonConstraint> constraint,
                   absl::Duration now)
    : Sequence(Kind::kGenerate, params.prompt, std::move(channel), tokenizer, now, params.timeout) {
  params_ = std::move(params);
  constraint_ = std::move(constraint);
  matcher_ = StopMatcher(params_.stop);
  if (!params_.sampling.uses_counts()) return;
  for (const int32_t id : tokens_) counts_.try_emplace(id, 0);
}

Sequence::Sequence(ScoreParams params, std::shared_ptr<RequestChannel> channel,
                   const Tokenizer* tokenizer, absl::Duration now)
    : Sequence(Kind::kScore, std::move(params.tokens), std::move(channel), tokenizer, now,
               params.timeout) {
  score_candidates_ = params.top;
}

Sequence::Sequence(const EmbedParams& params, size_t input, std::shared_ptr<RequestChannel> channel,
                   const Tokenizer* tokenizer, absl::Duration now)
    : Sequence(Kind::kEmbed, params.inputs[input], std::move(channel), tokenizer, now,
               params.timeout) {
  pooling_ = params.pooling;
  normalise_ = params.normalise;
}

FinishReason Sequence::Interruption(absl::Duration now) const {
  if (channel_->cancelled()) return FinishReason::kCancelled;
  if (now >= deadline_) return FinishReason::kDeadline;
  return FinishReason::kNone;
}

bool Sequence::EndsText(int32_t token) const {
  if (!params_.ignore_eos && tokenizer_->IsEnd(token)) return true;
  return std::find(params_.stop_ids.begin(), params_.stop_ids.end(), token) !=
         params_.stop_ids.end();
}

void Sequence::Accept(int32_t token, std::vector<PositionScore> logprobs, absl::Duration now) {
  if (first_ != absl::InfiniteDuration()) token_gap_ = now - last_;
  first_ = std::min(first_, now);
  last_ = now;
  if (EndsText(token)) {
    Finish(FinishReason::kStop, now);
    return;
  }
  tokens_.push_back(token);
  if (params_.sampling.uses_counts()) ++counts_[token];
  channel_->Append(matcher_.Push(decoder_.Push(token)), token, std::move(logprobs));
  if (matcher_.found() || (allowed() != nullptr && allowed()->empty() && constraint_->complete())) {
    Finish(FinishReason::kStop, now);
  } else if (allowed() != nullptr && allowed()->empty()) {
    Fail(absl::InternalError(absl::StrCat("after ", length() - prompt_tokens_,
                                          " tokens no token of the vocabulary continues the JSON; ",
                                          "leave the output format out with this model")),
         now);
  } else if (length() - prompt_tokens_ >= params_.max_tokens) {
    Finish(FinishReason::kLength, now);
  }
}

void Sequence::Constrain(int32_t token) {
  if (constraint_ != nullptr && !EndsText(token)) constraint_->Accept(token);
}

void Sequence::AddHidden(absl::Span<const float> hidden) {
  pooled_.resize(hidden.size());
  for (size_t i = 0; i < hidden.size(); ++i) pooled_[i] += hidden[i];  // in order of positions
}

void Sequence::AcceptEmbedding(absl::Duration now) {
  double squares = 0;
  const double count = wants_all() ? static_cast<double>(prompt_tokens_) : 1;
  for (double& x : pooled_) {
    x /= count;
    squares += x * x;
  }
  if (!std::isfinite(squares)) {
    Fail(absl::InternalError("the hidden states are no finite numbers; check the model with: "
                             "tritterctl verify, or export an earlier checkpoint"),
         now);
    return;
  }
  const double length = normalise_ && squares > 0 ? std::sqrt(squares) : 1;
  std::vector<float> embedding;
  for (const double x : pooled_) embedding.push_back(static_cast<float>(x / length));
  channel_->SetEmbedding(std::move(embedding));
  first_ = last_ = now;
  Finish(FinishReason::kStop, now);
}

void Sequence::AcceptScores(std::vector<PositionScore> scores, absl::Duration now) {
  channel_->AppendScores(std::move(scores));
  if (pending() == 0) {
    first_ = last_ = now;
    Finish(FinishReason::kStop, now);
  }
}

void Sequence::Fail(absl::Status error, absl::Duration now) {
  error_ = std::move(error);
  Finish(FinishReason::kFailed, now);
}

void Sequence::Finish(FinishReason reason, absl::Duration now) {
  last_text_ = matcher_.Push(decoder_.Finish());
  if (matcher_.found() && reason == FinishReason::kLength) reason = FinishReason::kStop;
  last_text_ += matcher_.Finish();
  admitted_ = std::min(admitted_, now);
  first_ = std::min(first_, now);
  usage_.prompt_tokens = prompt_tokens_;
  usage_.generated_tokens = length() - prompt_tokens_;
  usage_.queued = admitted_ - submitted_;
  usage_.prefill = first_ - admitted_;
  usage_.decode = std::max(last_ - first_, absl::ZeroDuration());
  finish_reason_ = reason;
}

}  // namespace tritter
