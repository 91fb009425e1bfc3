// Clients share an engine's queue.
#include <memory>
#include <vector>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/engine_requests.h"
#include "inference/testing/held_engine.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

// One request at a time, and the first one is held.
class EngineQueueTest : public ::testing::Test {
 protected:
  void Start(int64_t max_queue) {
    EngineOptions options;
    options.max_queue = max_queue;
    options.scheduler.max_batch = 1;
    engine_ = MakeEngine(options);
    held_ = std::make_unique<HeldEngine>(engine_.get());
  }
  absl::StatusOr<std::unique_ptr<Generation>> Ask(const std::string& client) {
    GenerateParams params = Params({kBosId}, 3);
    params.client = client;
    return engine_->Generate(std::move(params));
  }
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<HeldEngine> held_;
};

TEST_F(EngineQueueTest, AFloodOfOneClientDoesNotDelayTheSingleRequestOfAnother) {
  Start(100);
  std::vector<std::unique_ptr<Generation>> flood;
  for (int i = 0; i < 20; ++i) flood.push_back(*Ask("a"));
  const auto single = *Ask("b");
  held_->Open();
  // It came last and is admitted second: it waits for less time than the second of the flood.
  const absl::Duration queued = Collect(*single).usage.queued;
  for (size_t i = 0; i < flood.size(); ++i) {
    const absl::Duration other = Collect(*flood[i]).usage.queued;
    if (i > 0) EXPECT_GT(other, queued) << i;
  }
}

TEST_F(EngineQueueTest, AFullQueueRefusesEverybodyAtOnce) {
  Start(3);
  std::vector<std::unique_ptr<Generation>> flood;
  for (int i = 0; i < 3; ++i) flood.push_back(*Ask("a"));
  for (const char* client : {"a", "b"}) {
    EXPECT_THAT(Ask(client).status(), StatusIs(absl::StatusCode::kResourceExhausted,
                                               HasSubstr("3 requests are waiting already")));
  }
  EXPECT_EQ(engine_->stats().refused, 2);
  EXPECT_EQ(engine_->stats().queued, 3);
  held_->Open();
  for (const auto& g : flood) EXPECT_EQ(Collect(*g).finish, FinishReason::kLength);
}

}  // namespace
}  // namespace tritter
