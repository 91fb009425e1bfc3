// Somebody who submits runs, pauses and resumes them, changes his mind, repeats what got no answer.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/invariants.h"
#include "tests/simulation/network.h"
#include "tests/simulation/oracle.h"

namespace tritter::simulation {

class User : public Process, public std::enable_shared_from_this<User> {
 public:
  // `insists`: he gives each of his wishes an id and repeats it until it is answered.
  User(World* world, Network* network, Invariants* invariants, int host, bool insists)
      : world_(world), network_(network), invariants_(invariants), host_(host), insists_(insists) {}

  int host() const override { return host_; }
  void Later(absl::Duration delay, std::function<void()> act) override {
    world_->After(delay, std::move(act));
  }

  // Until it is answered.
  void Submit(const RunWish& wish);
  // Pause, resume, cancel or cancel at once one of the runs; a refusal is an answer.
  enum class Wish { kPause, kResume, kCancel, kCancelNow };
  void Ask(const std::string& run, Wish wish);
  bool waits() const { return unanswered_ > 0; }

 private:
  void Send(std::shared_ptr<const v1::SubmitRunRequest> request);
  void Ask(const std::string& run, Wish wish, const std::string& id);

  World* const world_;
  Network* const network_;
  Invariants* const invariants_;
  const int host_;
  const bool insists_;
  int unanswered_ = 0;  // submissions
  int64_t asked_ = 0;
  std::set<std::string> done_;  // ids of wishes that were fulfilled, whoever heard of it
};

}  // namespace tritter::simulation
