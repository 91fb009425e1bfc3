// The collective of one epoch: its members wait for each other in every step, and one that is gone
// breaks it for all.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tests/simulation/network.h"
#include "tests/simulation/oracle.h"
#include "tests/simulation/world.h"

namespace tritter::simulation {

// What one rank brings into a step.
struct RankStep {
  int64_t step = 0;  // steps done before
  int64_t first_position = 0, count = 0;
  StepInputs inputs;
  uint64_t state = 0;   // before; 0: it has none yet
  bool yields = false;  // it was told to stop after a step
  // Where the group begins from memory: what was reported of the steps until then.
  std::shared_ptr<const v1::ReportRequest> reports;
};

class Group : public std::enable_shared_from_this<Group> {
 public:
  // Sees each step that a whole group does, once.
  using Observer = std::function<void(const std::string& run, uint64_t epoch,
                                      const std::vector<RankStep>& ranks)>;
  // Sees who did not come within `timeout`; not those that never came, for the forming of the
  // group.
  using LateObserver =
      std::function<void(const std::string& run, uint64_t epoch, absl::Duration timeout,
                         const std::vector<std::shared_ptr<Process>>& absent)>;
  Group(World* world, Network* network, Observer observer, LateObserver late, std::string run,
        uint64_t epoch, int world_size, absl::Duration timeout)
      : world_(world),
        network_(network),
        observer_(std::move(observer)),
        late_(std::move(late)),
        run_(std::move(run)),
        epoch_(epoch),
        members_(static_cast<size_t>(world_size)),
        timeout_(timeout) {}

  // `done` runs at the rank when all have come to the same place, with an error when the group is
  // broken. The first call is the forming of the group: `at` of it is null, or what the rank holds
  // where they begin from memory.
  void Arrive(int rank, std::shared_ptr<Process> process, const RankStep* at,
              std::function<void(const absl::Status&)> done);
  // The rank is gone; in a farewell nobody waits for it any more.
  void Leave(int rank, bool farewell);
  void Abort(int rank);
  // What the rank brought into the forming of the group.
  const RankStep& began_with(int rank) const { return began_with_[static_cast<size_t>(rank)]; }
  // Whether one was told to stop: all do, after the step that they have just done.
  bool yields() const { return yields_; }

 private:
  struct Member {
    std::shared_ptr<Process> process;
    std::function<void(const absl::Status&)> done;  // set while it waits
    RankStep at;
    bool left = false;
  };
  void CheckComplete();
  void Shatter(const absl::Status& why);

  World* const world_;
  Network* const network_;
  const Observer observer_;
  const LateObserver late_;
  const std::string run_;
  const uint64_t epoch_;
  std::vector<Member> members_;
  const absl::Duration timeout_;
  int64_t round_ = 0;
  std::vector<RankStep> began_with_;
  bool broken_ = false, formed_ = false, yields_ = false;
};

// The groups of all epochs: a rank finds the others by run and epoch.
class Groups {
 public:
  Groups(World* world, Network* network, Group::Observer observer, Group::LateObserver late)
      : world_(world), network_(network), observer_(std::move(observer)), late_(std::move(late)) {}
  std::shared_ptr<Group> Find(const std::string& run, uint64_t epoch, int world_size,
                              absl::Duration timeout);

 private:
  World* const world_;
  Network* const network_;
  const Group::Observer observer_;
  const Group::LateObserver late_;
  std::map<std::pair<std::string, uint64_t>, std::weak_ptr<Group>> groups_;
};

}  // namespace tritter::simulation
