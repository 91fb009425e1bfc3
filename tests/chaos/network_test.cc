// Workers and coordinator on hosts of their own, joined by a network that is cut, loses, delays,
// reorders and doubles packets. Skipped, with a line, where namespaces are not allowed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/testing/status_matchers.h"
#include "tests/chaos/faulty_network.h"
#include "tests/chaos/isolation.h"
#include "tests/chaos/scene.h"

namespace tritter::chaos {
namespace {

// Before gRPC has threads.
const absl::Status isolated = Isolate();

// The coordinator on host 0, worker i on host i + 1.
class Network : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!isolated.ok()) GTEST_SKIP() << isolated;
    auto network = FaultyNetwork::Create(3, 11);
    if (!network.ok()) GTEST_SKIP() << network.status();
    network_ = *std::move(network);
  }

  absl::StatusOr<Course> PlayHere(
      const std::string& name,
      const std::function<absl::Status(e2e::Cluster&, const std::string&)>& disturb) {
    Scene scene;
    scene.name = name;
    scene.coordinator.host = network_->address(0);
    scene.coordinator.flags = {"--insecure"};
    scene.worker = [this](int worker) {
      e2e::Launch launch;
      launch.prefix = network_->Enter(worker + 1);
      launch.flags = {"--insecure", "--collective-network", "trusted", "--advertise-host",
                      network_->address(worker + 1)};
      return launch;
    };
    scene.disturb = disturb;
    return Play(scene);
  }

  std::unique_ptr<FaultyNetwork> network_;
};

// On loopback, without a network of its own.
const Course& Undisturbed() {
  static const Course* course = [] {
    auto played = Play({.name = "undisturbed"});
    EXPECT_OK(played.status());
    return new Course(played.ok() ? *std::move(played) : Course());
  }();
  return *course;
}

TEST_F(Network, AWorkerThatIsCutOffIsLostAndTakenBack) {
  ASSERT_OK_AND_ASSIGN(
      const Course course, PlayHere("cut", [&](e2e::Cluster& cluster, const std::string& run) {
        network_->Set(2, {.cut = true});
        auto lost = cluster.WaitFor(run, [](const v1::Run& r) { return r.members_size() == 0; });
        network_->Set(2, {});
        return lost.status();
      }));
  EXPECT_EQ(DifferenceOfWork(Undisturbed(), course), "");
  EXPECT_EQ(course.CountEvents("worker_lost", "w1 lost: silent for"), 1) << course.EventTexts();
  EXPECT_GT(network_->counts().held_back, 0);
}

TEST_F(Network, ACutShorterThanTheHeartbeatTimeoutIsForgiven) {
  ASSERT_OK_AND_ASSIGN(const Course course, PlayHere("hiccup", [&](e2e::Cluster&, auto&) {
                         for (const int host : {0, 1, 2}) {
                           network_->Set(host, {.cut = true});
                           Clock::Real()->Sleep(absl::Seconds(1));
                           network_->Set(host, {});
                           Clock::Real()->Sleep(absl::Seconds(1));
                         }
                         return absl::OkStatus();
                       }));
  EXPECT_EQ(DifferenceOfWork(Undisturbed(), course), "");
  EXPECT_EQ(course.run.epoch(), 1u) << course.EventTexts();
  EXPECT_GT(network_->counts().held_back, 0);
}

// Both are healthy for the coordinator, and no step can be ended: the group says so.
TEST_F(Network, WorkersThatCannotReachEachOtherDoNotHangForEver) {
  ASSERT_OK_AND_ASSIGN(
      const Course course, PlayHere("parted", [&](e2e::Cluster& cluster, const std::string& run) {
        network_->Part(1, 2, true);
        auto ended = cluster.WaitFor(run, [](const v1::Run& r) { return r.epochs_lost() > 0; });
        network_->Part(1, 2, false);
        return ended.status();
      }));
  EXPECT_EQ(DifferenceOfWork(Undisturbed(), course), "");
  EXPECT_EQ(course.CountEvents("worker_lost"), 0) << course.EventTexts();
  EXPECT_GE(course.CountEvents("epoch_lost", "failed: "), 1) << course.EventTexts();
}

TEST_F(Network, LostDelayedReorderedAndDoubledPacketsChangeNoBit) {
  const Cable bad = {.loss = 0.002,
                     .doubled = 0.02,
                     .delay = absl::Microseconds(300),
                     .jitter = absl::Milliseconds(1)};
  for (const int host : {0, 1, 2}) network_->Set(host, bad);
  ASSERT_OK_AND_ASSIGN(const Course course, PlayHere("bad-cables", nullptr));
  EXPECT_EQ(DifferenceOfWork(Undisturbed(), course), "");
  EXPECT_EQ(course.run.epoch(), 1u) << course.EventTexts();
  EXPECT_GT(network_->counts().lost, 0);
  EXPECT_GT(network_->counts().doubled, 0);
}

}  // namespace
}  // namespace tritter::chaos
