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
  uint64_t state = 0;  // before
};

class Group : public std::enable_shared_from_this<Group> {
 public:
  // Sees each step that a whole group does, once.
  using Observer = std::function<void(const std::string& run, uint64_t epoch,
                                      const std::vector<RankStep>& ranks)>;
  Group(World* world, Network* network, Observer observer, std::string run, uint64_t epoch,
        int world_size, absl::Duration timeout)
      : world_(world),
        network_(network),
        observer_(std::move(observer)),
        run_(std::move(run)),
        epoch_(epoch),
        members_(static_cast<size_t>(world_size)),
        timeout_(timeout) {}

  // `done` runs at the rank when all have come to the same place, with an error when the group is
  // broken. The first call is the forming of the group, `at` of it null.
  void Arrive(int rank, std::shared_ptr<Process> process, const RankStep* at,
              std::function<void(const absl::Status&)> done);
  // The rank is gone; in a farewell nobody waits for it any more.
  void Leave(int rank, bool farewell);
  void Abort(int rank);

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
  const std::string run_;
  const uint64_t epoch_;
  std::vector<Member> members_;
  const absl::Duration timeout_;
  int64_t round_ = 0;
  bool broken_ = false, formed_ = false;
};

// The groups of all epochs: a rank finds the others by run and epoch.
class Groups {
 public:
  Groups(World* world, Network* network, Group::Observer observer)
      : world_(world), network_(network), observer_(std::move(observer)) {}
  std::shared_ptr<Group> Find(const std::string& run, uint64_t epoch, int world_size,
                              absl::Duration timeout);

 private:
  World* const world_;
  Network* const network_;
  const Group::Observer observer_;
  std::map<std::pair<std::string, uint64_t>, std::weak_ptr<Group>> groups_;
};

}  // namespace tritter::simulation
