// One request while the engine works on it. Used by the scheduler thread alone (the channel apart).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inference/json_constraint.h"
#include "inference/prefix_cache.h"
#include "inference/request.h"
#include "inference/request_channel.h"
#include "inference/stop_matcher.h"
#include "model/tokenizer.h"

namespace tritter {

class Sequence {
 public:
  // `now` values are of one monotonic clock. `constraint` may be null.
  Sequence(GenerateParams params, std::shared_ptr<RequestChannel> channel,
           const Tokenizer* tokenizer, std::unique_ptr<JsonConstraint> constraint,
           absl::Duration now);
  Sequence(ScoreParams params, std::shared_ptr<RequestChannel> channel, const Tokenizer* tokenizer,
           absl::Duration now);
  // Of params.inputs only the one at `input`.
  Sequence(const EmbedParams& params, size_t input, std::shared_ptr<RequestChannel> channel,
           const Tokenizer* tokenizer, absl::Duration now);

  bool scoring() const { return kind_ == Kind::kScore; }
  bool embedding() const { return kind_ == Kind::kEmbed; }
  // Every position gives a result, not only the last.
  bool wants_all() const {
    return scoring() || (embedding() && pooling_ == EmbedParams::Pooling::kMean);
  }
  int64_t score_candidates() const { return score_candidates_; }
  const SamplingParams& sampling() const { return params_.sampling; }
  const std::optional<int64_t>& logprobs() const { return params_.logprobs; }
  const TokenCounts& counts() const { return counts_; }  // kept where the sampling uses them
  const std::vector<int32_t>& tokens() const { return tokens_; }  // prompt and what was generated
  int64_t length() const { return static_cast<int64_t>(tokens_.size()); }
  // Positions that are computed for the whole request, at most: what its pages must hold.
  int64_t max_positions() const {
    return prompt_tokens_ + (kind_ == Kind::kGenerate ? params_.max_tokens : 0);
  }
  // The beginning whose keys and values may come from another request: where results are wanted
  // must be computed.
  absl::Span<const int32_t> reusable() const {
    return absl::MakeConstSpan(tokens_).first(
        wants_all() ? 0 : static_cast<size_t>(prompt_tokens_ - 1));
  }
  // Positions to compute before the next result; more than one only in prefill.
  int64_t pending() const { return (scoring() ? length() - 1 : length()) - computed; }
  bool in_prefill() const { return length() == prompt_tokens_; }

  FinishReason Interruption(absl::Duration now) const;  // cancelled or over time, else kNone
  // `known`: positions whose keys and values were there already.
  void Admitted(int64_t known, absl::Duration now) {
    computed = usage_.cached_prompt_tokens = known;
    admitted_ = now;
  }
  // Takes the next token; the request may be finished by it.
  void Accept(int32_t token, std::vector<PositionScore> logprobs, absl::Duration now);
  // What the constraint of this text allows next; null without one.
  const TokenMask* allowed() const {
    return constraint_ == nullptr ? nullptr : &constraint_->allowed();
  }
  // Tells the constraint the token that Accept gets after it. Takes time with large vocabularies,
  // and may run beside other sequences'.
  void Constrain(int32_t token);
  void AddHidden(absl::Span<const float> hidden);
  void AcceptEmbedding(absl::Duration now);
  void AcceptScores(std::vector<PositionScore> scores, absl::Duration now);
  void Finish(FinishReason reason, absl::Duration now);
  void Fail(absl::Status error, absl::Duration now);  // Finish with kFailed
  // Between the last accepted token and the one before; nothing for a request's first.
  std::optional<absl::Duration> token_gap() const { return token_gap_; }
  // Tells the waiting side. Apart from Finish, so that pages and figures are settled before anybody
  // is told.
  void Publish() { channel_->Finish(last_text_, finish_reason_, usage_, error_); }
  FinishReason finish_reason() const { return finish_reason_; }
  const RequestUsage& usage() const { return usage_; }  // complete after Finish

  int64_t computed = 0;      // positions whose keys and values are stored
  PrefixCache::Table pages;  // filled by the scheduler, which gives them back

 private:
  bool EndsText(int32_t token) const;

  enum class Kind { kGenerate, kScore, kEmbed };
  Sequence(Kind kind, std::vector<int32_t> tokens, std::shared_ptr<RequestChannel> channel,
           const Tokenizer* tokenizer, absl::Duration now, absl::Duration timeout);

  const Kind kind_;
  int64_t score_candidates_ = 0;
  EmbedParams::Pooling pooling_ = EmbedParams::Pooling::kMean;
  bool normalise_ = false;
  std::vector<double> pooled_;  // sum of hidden states
  GenerateParams params_;
  std::vector<int32_t> tokens_;
  const int64_t prompt_tokens_;
  TokenCounts counts_;
  std::unique_ptr<JsonConstraint> constraint_;
  std::shared_ptr<RequestChannel> channel_;
  const Tokenizer* const tokenizer_;
  StreamingDecoder decoder_;
  StopMatcher matcher_;
  absl::Duration submitted_, deadline_;
  absl::Duration admitted_ = absl::InfiniteDuration(), first_ = absl::InfiniteDuration(),
                 last_ = absl::ZeroDuration();
  std::optional<absl::Duration> token_gap_;
  FinishReason finish_reason_ = FinishReason::kNone;
  absl::Status error_;
  std::string last_text_;
  RequestUsage usage_;
};

}  // namespace tritter
