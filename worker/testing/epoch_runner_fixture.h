// Epochs over fakes, in memory: what the tests of EpochRunner share.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "common/sha256.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "model/folder_checkpoint_store.h"
#include "worker/epoch_runner.h"
#include "worker/testing/fake_coordinator_link.h"
#include "worker/testing/fake_epoch_parts.h"

namespace tritter {

inline constexpr char kEpochSpec[] = R"(name: test
model: {preset: nano}
data: {sources: [{name: text, shards: /shards/text}]}
training: {steps: 12, sequence_length: 8, global_batch: 4, ema_window: 2}
)";

class EpochRunnerTest : public testing::Test {
 protected:
  EpochRunnerTest() { MakeRun(&env_); }
  // The run's folder, as the coordinator makes it.
  static void MakeRun(Env* env) { EXPECT_OK(CheckpointsOfRun(env, "/runs/run-1")->Create()); }
  static Assignment Order() {
    Assignment a;
    a.id = {"run-1", 3};
    a.spec_yaml = kEpochSpec;
    a.run_dir = "/runs/run-1";
    return a;
  }
  std::unique_ptr<EpochRunner> Make(CoordinatorLink* link, Assignment assignment,
                                    Env* env = nullptr, HeldTrainer held = {}) {
    const std::string prefix = "w" + std::to_string(assignment.rank);
    return std::make_unique<EpochRunner>(
        EpochRunner::Options{.parts = &parts_,
                             .link = link,
                             .env = env != nullptr ? env : &env_,
                             .clock = Clock::Real(),
                             .assignment = std::move(assignment),
                             .request_prefix = prefix,
                             .backoff = {absl::Milliseconds(1), absl::Milliseconds(2)},
                             .report_interval = absl::Milliseconds(1),
                             .commit_poll = absl::Milliseconds(1),
                             .disk_retry = absl::Milliseconds(1),
                             .broken_group_grace = absl::Milliseconds(20),
                             .ended_flush_limit = absl::Milliseconds(20)},
        std::move(held));
  }
  // What 12 undisturbed steps of one rank come to.
  uint64_t UndisturbedState() {
    FakeCoordinatorLink link({});
    FakeEpochParts parts;
    EpochRunner runner({.parts = &parts,
                        .link = &link,
                        .env = &env_,
                        .clock = Clock::Real(),
                        .assignment = Order()});
    EXPECT_EQ(runner.Run().kind, EpochOutcome::Kind::kDone);
    return parts.state();
  }
  // A committed checkpoint as the coordinator would leave it; returns the manifest's hash.
  std::string Commit(const FakeCoordinatorLink::Commit& share, int64_t step) {
    CheckpointManifest manifest;
    manifest.run_id = "run-1";
    manifest.step = step;
    manifest.epoch = 3;
    manifest.attempt = share.order.attempt;
    manifest.spec_hash = Sha256Hex(kEpochSpec);
    manifest.spec_yaml = kEpochSpec;
    manifest.code_version = "test";
    manifest.next_slot = step * 4;
    manifest.files = share.files;
    const auto committed = CheckpointsOfRun(&env_, "/runs/run-1")->Commit(manifest);
    EXPECT_OK(committed.status());
    return (*committed)->manifest_sha256();
  }

  MemoryEnv env_;
  FakeEpochParts parts_;
};

}  // namespace tritter
