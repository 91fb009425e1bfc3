#include "inference/scheduler.h"

#include <algorithm>
#include <utility>

namespace tritter {

bool Scheduler::Admit(std::unique_ptr<Sequence>& sequence) {
  if (active() >= options_.max_batch) return false;
  if (!pages_->Take(KvPagesFor(sequence->max_positions()), &sequence->pages)) return false;
  sequence->Admitted(clock_->Monotonic());
  active_.push_back(std::move(sequence));
  return true;
}

void Scheduler::DealOut(std::vector<Work>* work) {
  for (const auto& s : active_) work->push_back({s.get(), s->in_prefill() ? 0 : 1, 0, 0, {}});
  int64_t budget = options_.prefill_chunk;
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

void Scheduler::ReadLogits(Work& w) const {
  Sequence& s = *w.sequence;
  if (s.scoring()) {
    for (int64_t i = 0; i < w.positions; ++i) {
      const int32_t next = s.tokens()[static_cast<size_t>(s.computed + i + 1)];
      w.scores.push_back(
          ScorePosition(forward_->Logits(w.first_logits + i), next, s.score_candidates()));
    }
  } else if (w.positions == s.pending()) {
    w.token = Sample(forward_->Logits(w.first_logits), s.sampling(), s.length());
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
    if (const FinishReason reason = s->Interruption(before); reason != FinishReason::kNone)
      s->Finish(reason, before);
  }
  std::vector<std::unique_ptr<Sequence>> finished = TakeFinished();
  if (active_.empty()) return finished;

  std::vector<Work> work;
  DealOut(&work);
  std::vector<ForwardRow> rows;
  int64_t logits = 0;
  for (Work& w : work) {
    const Sequence& s = *w.sequence;
    w.first_logits = logits;
    for (int64_t i = 0; i < w.positions; ++i) {
      const int64_t position = s.computed + i;
      const bool wants = s.scoring() || i + 1 == s.pending();
      rows.push_back({s.tokens()[static_cast<size_t>(position)], position, &s.pages, wants});
      logits += wants;
    }
  }
  forward_->Run(rows);
  pool_->Run([&](int worker) {
    for (size_t i = static_cast<size_t>(worker); i < work.size();
         i += static_cast<size_t>(pool_->threads())) {
      if (work[i].positions > 0) ReadLogits(work[i]);
    }
  });
  const absl::Duration after = clock_->Monotonic();
  for (Work& w : work) {
    if (w.positions == 0) continue;
    Sequence& s = *w.sequence;
    const bool complete = w.positions == s.pending();
    (s.in_prefill() ? report->prompt_positions : report->decoding) += w.positions;
    s.computed += w.positions;
    if (s.scoring()) {
      s.AcceptScores(std::move(w.scores), after);
    } else if (complete) {
      const int64_t length = s.length();
      s.Accept(w.token, after);
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
