// A training run on real processes into whose course somebody steps.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "tests/chaos/course.h"
#include "tests/e2e/cluster.h"

namespace tritter::chaos {

inline constexpr int kSceneSteps = 80;

// Workers are called w0, w1, …
struct Scene {
  std::string name;
  int workers = 2;
  std::map<std::string, std::string> overrides = {};  // of e2e::RunYaml
  e2e::Launch coordinator = {};
  std::function<e2e::Launch(int worker)> worker = [](int) { return e2e::Launch(); };
  std::function<absl::Status(const std::string& folder)> prepare =
      {};  // before anything is started
  // Called when the run has passed step `after_step` and has a checkpoint of `after_checkpoint` or
  // a later step.
  std::function<absl::Status(e2e::Cluster&, const std::string& run)> disturb = {};
  int64_t after_step = 25, after_checkpoint = 20;
};

// From an empty folder to the end of the run. Internal: it did not complete, with its reason and
// the ends of all logs.
absl::StatusOr<Course> Play(const Scene& scene);

// SIGTERM to a worker, or the coordinator: Internal when it does not end, in order, within a
// minute.
absl::Status TellToEnd(Subprocess* process);

// Waits until the run has live members and a step beyond `step`.
absl::StatusOr<v1::Run> AwaitTraining(e2e::Cluster& cluster, const std::string& run, int64_t step,
                                      uint64_t epoch = 0);

}  // namespace tritter::chaos
