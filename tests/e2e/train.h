// A run from an empty folder to its end, for tests that disturb it and look at what it leaves.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "proto/tritter/v1/runs.pb.h"
#include "tests/e2e/cluster.h"

namespace tritter::e2e {

// A worker is called by its name, and started as that of the cluster unless it says otherwise.
struct NamedLaunch {
  std::string name;
  Launch launch = {};
};

struct Training {
  std::string name;
  std::vector<NamedLaunch> workers = {};
  std::map<std::string, std::string> overrides = {};  // of RunYaml
  // When `disturb` is called, once.
  std::function<bool(const v1::Run&)> under_way = [](const v1::Run&) { return true; };
  std::function<void(Cluster&, const v1::Run&)> disturb = {};
};

// Test failures, and an empty run, unless it trains all its steps and completes, and was not over
// before it could be disturbed.
v1::Run Train(const Training& training);

// The state after the last step of a run that is complete; a test failure when it cannot be read.
State FinalState(const v1::Run& run);

}  // namespace tritter::e2e
