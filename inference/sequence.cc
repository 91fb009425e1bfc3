#include "inference/sequence.h"

#include <algorithm>
#include <utility>

namespace tritter {

Sequence::Sequence(GenerateParams params, std::shared_ptr<RequestChannel> channel,
                   const Tokenizer* tokenizer, absl::Duration now)
    : scoring_(false),
      score_candidates_(0),
      params_(std::move(params)),
      prompt_tokens_(static_cast<int64_t>(params_.prompt.size())),
      tokens_(params_.prompt),
      channel_(std::move(channel)),
      decoder_(tokenizer),
      matcher_(params_.stop),
      submitted_(now),
      deadline_(now + params_.timeout) {
  if (!params_.sampling.uses_counts()) return;
  for (const int32_t id : tokens_) counts_.try_emplace(id, 0);
}

Sequence::Sequence(ScoreParams params, std::shared_ptr<RequestChannel> channel,
                   const Tokenizer* tokenizer, absl::Duration now)
    : scoring_(true),
      score_candidates_(params.top),
      prompt_tokens_(static_cast<int64_t>(params.tokens.size())),
      tokens_(std::move(params.tokens)),
      channel_(std::move(channel)),
      decoder_(tokenizer),
      matcher_({}),
      submitted_(now),
      deadline_(now + params.timeout) {}

FinishReason Sequence::Interruption(absl::Duration now) const {
  if (channel_->cancelled()) return FinishReason::kCancelled;
  if (now >= deadline_) return FinishReason::kDeadline;
  return FinishReason::kNone;
}

bool Sequence::EndsText(int32_t token) const {
  if (token == kEosId && !params_.ignore_eos) return true;
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
  if (matcher_.found()) {
    Finish(FinishReason::kStop, now);
  } else if (length() - prompt_tokens_ >= params_.max_tokens) {
    Finish(FinishReason::kLength, now);
  }
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
