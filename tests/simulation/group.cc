#include "tests/simulation/group.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tritter::simulation {

void Group::Arrive(int rank, std::shared_ptr<Process> process, const RankStep* at,
                   std::function<void(const absl::Status&)> done) {
  Member& member = members_[static_cast<size_t>(rank)];
  member.process = std::move(process);
  member.done = std::move(done);
  if (at != nullptr) member.at = *at;
  if (broken_) return Shatter(absl::UnavailableError("simulated: connection closed by peer"));
  const bool first = std::count_if(members_.begin(), members_.end(),
                                   [](const Member& m) { return m.done != nullptr; }) == 1;
  if (first) {
    world_->After(timeout_, [self = shared_from_this(), round = round_] {
      if (self->round_ != round || self->broken_) return;
      std::vector<std::shared_ptr<Process>> absent;
      for (const Member& m : self->members_) {
        if (m.done == nullptr && m.process != nullptr) absent.push_back(m.process);
      }
      self->late_(self->run_, self->epoch_, self->timeout_, absent);
      self->Shatter(absl::DeadlineExceededError("simulated: a collective took too long"));
    });
  }
  CheckComplete();
}

void Group::CheckComplete() {
  if (broken_) return;
  absl::Duration cut;
  for (const Member& a : members_) {
    if (a.done == nullptr) return;
    for (const Member& b : members_) {
      if (&a < &b && b.process != nullptr)
        cut = std::max(cut, network_->PeersCutUntil(a.process->host(), b.process->host()));
    }
  }
  if (cut > world_->now()) {
    world_->At(cut, [self = shared_from_this(), round = round_] {
      if (self->round_ == round) self->CheckComplete();
    });
    return;
  }
  ++round_;
  std::vector<RankStep> ranks;
  for (const Member& m : members_) ranks.push_back(m.at);
  yields_ = std::any_of(ranks.begin(), ranks.end(), [](const RankStep& r) { return r.yields; });
  if (formed_) {
    observer_(run_, epoch_, ranks);
  } else {
    began_with_ = std::move(ranks);
  }
  formed_ = true;
  for (Member& member : members_) {
    member.process->Later(world_->Between(absl::ZeroDuration(), absl::Milliseconds(5)),
                          [done = std::exchange(member.done, nullptr)] { done(absl::OkStatus()); });
  }
}

void Group::Shatter(const absl::Status& why) {
  broken_ = true;
  for (Member& member : members_) {
    if (member.done == nullptr) continue;
    member.process->Later(world_->Between(absl::Milliseconds(1), absl::Milliseconds(200)),
                          [done = std::exchange(member.done, nullptr), why] { done(why); });
  }
}

void Group::Leave(int rank, bool farewell) {
  Member& member = members_[static_cast<size_t>(rank)];
  if (std::exchange(member.left, true)) return;
  member.done = nullptr;
  if (!farewell) Shatter(absl::UnavailableError("simulated: connection closed by peer"));
}

void Group::Abort(int rank) {
  Member& member = members_[static_cast<size_t>(rank)];
  if (member.done == nullptr) return;
  member.process->Later(absl::ZeroDuration(), [done = std::exchange(member.done, nullptr)] {
    done(absl::AbortedError("simulated: aborted"));
  });
}

std::shared_ptr<Group> Groups::Find(const std::string& run, uint64_t epoch, int world_size,
                                    absl::Duration timeout) {
  std::weak_ptr<Group>& known = groups_[{run, epoch}];
  std::shared_ptr<Group> group = known.lock();
  if (group == nullptr) {
    group = std::make_shared<Group>(world_, network_, observer_, late_, run, epoch, world_size,
                                    timeout);
    known = group;
  }
  return group;
}

}  // namespace tritter::simulation
