#include "tests/simulation/world.h"

#include "absl/strings/str_format.h"

namespace tritter::simulation {

void World::At(absl::Duration time, std::function<void()> act) {
  events_.push({std::max(time, now_), made_++, std::move(act)});
}

bool World::Step(absl::Duration until) {
  if (broken_.has_value() || events_.empty() || events_.top().time > until) return false;
  // The queue gives no way to move its first element out; it is taken away in the next line.
  const std::function<void()> act = std::move(const_cast<Event&>(events_.top()).act);
  const absl::Duration time = events_.top().time;
  events_.pop();
  if (time > now_) clock.Advance(time - now_);
  now_ = time;
  act();
  return true;
}

void World::Append(std::string line) {
  trace_.push_back(absl::StrFormat("%9.3f  %s", absl::ToDoubleSeconds(now_), line));
}

void World::Break(const std::string& promise) {
  if (broken_.has_value()) return;
  broken_ = promise;
  Note("BROKEN: ", promise);
}

}  // namespace tritter::simulation
