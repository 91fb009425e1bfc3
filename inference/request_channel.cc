#include "inference/request_channel.h"

#include <iterator>
#include <utility>

namespace tritter {
namespace {

void AppendTo(std::vector<PositionScore>* to, std::vector<PositionScore> scores) {
  to->insert(to->end(), std::make_move_iterator(scores.begin()),
             std::make_move_iterator(scores.end()));
}

}  // namespace

void RequestChannel::Append(absl::string_view text, int32_t token,
                            std::vector<PositionScore> logprobs) {
  MutexLock lock(&mu_);
  event_.text.append(text.data(), text.size());
  event_.tokens.push_back(token);
  AppendTo(&event_.logprobs, std::move(logprobs));
  fresh_ = true;
  changed_.NotifyAll();
}

void RequestChannel::AppendScores(std::vector<PositionScore> scores) {
  MutexLock lock(&mu_);
  AppendTo(&scores_, std::move(scores));
}

void RequestChannel::SetEmbedding(std::vector<float> embedding) {
  MutexLock lock(&mu_);
  embedding_ = std::move(embedding);
}

void RequestChannel::Finish(absl::string_view last_text, FinishReason reason,
                            const RequestUsage& usage, const absl::Status& error) {
  MutexLock lock(&mu_);
  event_.text.append(last_text.data(), last_text.size());
  event_.finish = reason;
  event_.usage = usage;
  event_.error = error;
  fresh_ = true;
  changed_.NotifyAll();
}

bool RequestChannel::Next(absl::Duration timeout, GenerateEvent* event) {
  MutexLock lock(&mu_);
  while (!fresh_) {
    if (!changed_.WaitFor(&mu_, timeout) && !fresh_) return false;
  }
  *event = std::exchange(event_, {});
  fresh_ = false;
  return true;
}

std::vector<PositionScore> RequestChannel::TakeScores() {
  MutexLock lock(&mu_);
  return std::exchange(scores_, {});
}

std::vector<float> RequestChannel::TakeEmbedding() {
  MutexLock lock(&mu_);
  return std::exchange(embedding_, {});
}

}  // namespace tritter
