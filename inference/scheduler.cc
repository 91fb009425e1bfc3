#include "inference/scheduler.h"

#include <algorithm>
#include <utility>

namespace tritter {

bool Scheduler::Admit(std::unique_ptr<Sequence>& sequence) {
  if (active() >= options_.max_batch) return false;
  const absl::StatusOr<std::optional<int64_t>> taken =
      pages_->Take(sequence->reusable(), sequence->max_positions(), &sequence->pages);
  if (taken.ok() && !taken->has_value()) return false;
  sequence->Admitted(taken.ok() ? **taken : 0, clock_->Monotonic());
  if (!taken.ok()) sequence->Fail(taken.status(), clock_->Monotonic());
  active_.push_back(std::move(sequence));
  return true;
}

void Scheduler::DealOut(std::vector<Work>* work) {
  int64_t budget = options_.prefill_chunk;
  for (const auto& s : active_) {
    if (!s->in_prefill()) budget = std::min(budget, options_.decoding_chunk);
    work->push_back({s.get(), s->in_prefill() ? 0 : 1, 0, 0});
  }
  bool dealt = true;
  while (budget > 0 && dealt) {
    dealt = false;
    for (size_t i = 0; i < work->size() && budget > 0; ++i) {
      Work& w = (*work)[(turn_ + i) % work->size()];
      if (!w.sequence->in_prefill()) continue;
      const int64_t more =
          std::min({options_.prefill_quantum, budget, w.sequence->pending() - w.positions});
      w.positions += more;
      budget -= more;
      dealt = dealt || more > 0;
    }
  }
  ++turn_;
}

void Scheduler::ReadLogits(Work& w, int64_t first, int64_t count) const {
  Sequence& s = *w.sequence;
  const int64_t begin = std::max<int64_t>(first - w.first_logits, 0),
                end = std::min(first + count - w.first_logits, w.logits);
  for (int64_t i = begin; i < end && w.error.ok(); ++i) {
    const absl::Span<const float> logits = forward_->Logits(w.first_logits + i);
    const int64_t next = s.scoring() ? s.computed + i + 1 : s.length();
    w.error = CheckFinite(logits, next);
    if (!w.error.ok()) return;
    if (s.scoring()) {
      w.scores.push_back(
          ScorePosition(logits, s.tokens()[static_cast<size_t>(next)], s.score_candidates()));
    } else {
      w.token = Sample(logits, s.sampling(), next, s.counts(), s.allowed());
      s.Constrain(w.token);
      if (s.logprobs().has_value())
        w.scores.push_back(ScorePosition(logits, w.token, *s.logprobs()));
    }
  }
}

std::vector<std::unique_ptr<Sequence>> Scheduler::TakeFinished() {
  std::vector<std::unique_ptr<Sequence>> finished;
  for (auto& s : active_) {
    if (s->finish_reason() == FinishReason::kNone) continue;
    pages_->Return(&s->pages);
    finished.push_back(std::move(s));
  }
  std::erase(active_, nullptr);
  return finished;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::Step(StepReport* report) {
  const absl::Duration before = clock_->Monotonic();
  for (const auto& s : active_) {
    if (s->finish_reason() != FinishReason::kNone) continue;  // failed when it was admitted
    if (const FinishReason reason = s->Interruption(before); reason != FinishReason::kNone)
      s->Finish(reason, before);
  }
  std::vector<std::unique_ptr<Sequence>> finished = TakeFinished();
  if (active_.empty()) return finished;

  std::vector<Work> work;
  DealOut(&work);
  std::vector<ForwardRow> rows;
  int64_t logits = 0, hidden = 0;
  for (Work& w : work) {
    Sequence& s = *w.sequence;
    if (w.positions == 0) continue;
    if (const absl::Status room = pages_->Advance(s.computed, s.computed + w.positions, &s.pages);
        !room.ok()) {
      s.Fail(room, before);
      w.positions = 0;
      continue;
    }
    w.first_logits = logits;
    w.first_hidden = hidden;
    for (int64_t i = 0; i < w.positions; ++i) {
      const int64_t position = s.computed + i;
      const bool wants = s.wants_all() || i + 1 == s.pending();
      rows.push_back({s.tokens()[static_cast<size_t>(position)], position, &s.pages.pages(),
                      wants && !s.embedding(), wants && s.embedding()});
      (s.embedding() ? hidden : logits) += wants;
    }
    w.logits = logits - w.first_logits;
    w.hidden = hidden - w.first_hidden;
  }
  const auto read = [&](int64_t first, int64_t count) {
    pool_->Run([&](int worker) {
      for (size_t i = static_cast<size_t>(worker); i < work.size();
           i += static_cast<size_t>(pool_->threads())) {
        ReadLogits(work[i], first, count);
      }
    });
  };
  const absl::Status computed = rows.empty() ? absl::OkStatus() : forward_->Run(rows, read);
  const absl::Duration after = clock_->Monotonic();
  report->duration = after - before;
  for (Work& w : work) {
    if (w.positions == 0) continue;
    Sequence& s = *w.sequence;
    if (!computed.ok()) {  // what its pages hold is unknown: nothing of it is shared
      s.Fail(computed, after);
      continue;
    }
    const bool complete = w.positions == s.pending();
    (s.in_prefill() ? report->prompt_positions : report->decoding) += w.positions;
    s.computed += w.positions;
    pages_->Share(s.tokens(), s.computed, &s.pages);
    if (!w.error.ok()) {
      s.Fail(w.error, after);
    } else if (s.embedding()) {
      for (int64_t i = 0; i < w.hidden; ++i) s.AddHidden(forward_->Hidden(w.first_hidden + i));
      if (complete) s.AcceptEmbedding(after);
    } else if (s.scoring()) {
      s.AcceptScores(std::move(w.scores), after);
    } else if (complete) {
      const int64_t length = s.length();
      s.Accept(w.token, std::move(w.scores), after);
      report->generated_tokens += s.length() - length;
      if (s.token_gap().has_value()) report->inter_token.push_back(*s.token_gap());
    }
  }
  for (auto& s : TakeFinished()) finished.push_back(std::move(s));
  return finished;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::FinishAll(FinishReason reason) {
  for (const auto& s : active_) s->Finish(reason, clock_->Monotonic());
  return TakeFinished();
}

}  // namespace tritter
