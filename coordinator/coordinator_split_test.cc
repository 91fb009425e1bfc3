// Batches divided by what the workers measure: in the plans, in what `describe` shows, in events.
#include <gmock/gmock.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SplitTest : public CoordinatorFixture {
 protected:
  void SetUp() override {
    agents_yield_ = true;
    Start();
  }
  std::string Yaml(const std::string& split) {
    std::string yaml = RunYaml("run", 100000, 2, "checkpoint: {every: 1000000}\n");
    const std::string was = "max: 2";
    yaml.replace(yaml.find(was), was.size(), absl::StrCat("max: 2, split: ", split));
    return yaml;
  }
  FakeAgent* Worker(const std::string& name, const std::string& device, double seconds) {
    return AddWorker(name, 1, [&](FakeAgent* agent) {
      agent->device = device;
      agent->seconds_per_sequence = seconds;
    });
  }
  std::vector<int> Sequences(const std::string& id) {
    std::vector<int> out;
    const v1::Run run = Get(id);
    for (const v1::RunMember& m : run.members()) out.push_back(m.sequences());
    return out;
  }
  std::vector<std::string> Splits(const std::string& id) {
    v1::ListEventsRequest request;
    request.set_run(id);
    std::vector<std::string> out;
    const absl::StatusOr<v1::ListEventsResponse> events = coordinator_->ListEvents(request);
    EXPECT_OK(events);
    if (!events.ok()) return out;
    for (const v1::Event& e : events->events()) {
      if (e.kind() == kEventBatchSplit) out.push_back(e.message());
    }
    return out;
  }
};

TEST_F(SplitTest, UnlikeWorkersGetWhatTheyAreDoneWithAtTheSameTime) {
  const std::string id = Submit(Yaml("auto"));
  FakeAgent* slow = Worker("w-0", "cpu test x1", 0.3);
  FakeAgent* fast = Worker("w-1", "cpu test x4", 0.1);
  RoundsUntil([&] { return Get(id).step() > 0; });
  EXPECT_THAT(Sequences(id), ElementsAre(8, 8)) << "nothing was measured before the first plan";
  RoundsUntil([&] { return Get(id).step() > 40; });
  EXPECT_THAT(Sequences(id), ElementsAre(4, 12));
  for (const FakeAgent* w : {slow, fast}) {
    const v1::Plan& plan = *w->plan();
    ASSERT_EQ(plan.shares_size(), 2);
    EXPECT_EQ(plan.shares(0).first_position(), 0);
    EXPECT_EQ(plan.shares(1).first_position(), 4) << "after those of the rank before";
    EXPECT_EQ(plan.shares(1).micro_batch(), 8);
    EXPECT_EQ(plan.first_slot(), plan.first_step() * 16) << "the same samples as ever";
  }
  EXPECT_THAT(Splits(id),
              ElementsAre(HasSubstr("on w-0 4, w-1 12 of 16 sequences: 1.2 s of computation a "
                                    "step, not 2.4 s")));
  EXPECT_FALSE(absl::StrContains(Get(id).reason(), "wait for it"));
  // Figures that move a little change nothing, and a restart neither.
  slow->seconds_per_sequence = 0.29;
  Start();
  ASSERT_OK(slow->Connect());
  ASSERT_OK(fast->Connect());
  const int64_t at = Get(id).step();
  RoundsUntil([&] { return Get(id).step() > at + 100; });
  EXPECT_THAT(Sequences(id), ElementsAre(4, 12));
  EXPECT_EQ(Splits(id).size(), 1u);
  slow->seconds_per_sequence = 0.1;  // what slowed it has ended
  RoundsUntil([&] { return Splits(id).size() > 1; }, 1000);
  EXPECT_THAT(Sequences(id), ElementsAre(6, 10)) << "half way at first";
  RoundsUntil([&] { return Splits(id).size() > 2; }, 1000);
  EXPECT_THAT(Sequences(id), ElementsAre(7, 9)) << "a step shorter by less than a tenth is no gain";
}

TEST_F(SplitTest, ACpuBesideAGpuBeginsWithLittleAndTheNextEpochWithWhatWasMeasured) {
  std::string yaml = Yaml("auto");
  yaml.replace(yaml.find("split: auto"), 11, "device: any");
  const std::string id = Submit(yaml);
  FakeAgent* cpu = Worker("c", "cpu test x4", 0.4);
  FakeAgent* gpu = Worker("g", "cuda:0 A", 0.1);
  RoundsUntil([&] { return gpu->plan().has_value(); });
  EXPECT_TRUE(gpu->assigned().back().mixed_devices());
  EXPECT_EQ(gpu->plan()->end_step(), 3) << "short, until it is measured";
  EXPECT_THAT(Sequences(id), ElementsAre(1, 15));
  RoundsUntil([&] { return Get(id).step() > 40; });
  EXPECT_THAT(Sequences(id), ElementsAre(3, 13));
  EXPECT_THAT(Splits(id),
              ElementsAre(HasSubstr("from step 0 on c 1, g 15 of 16 sequences until the speed of "
                                    "all is measured"),
                          HasSubstr("on c 3, g 13 of 16 sequences: 1.3 s of computation")));
  ASSERT_OK(cpu->Fail("loss is not finite", false));
  RoundsUntil([&] { return Get(id).epoch() == 2 && gpu->plan().has_value(); });
  EXPECT_THAT(Sequences(id), ElementsAre(3, 13)) << "of the first plan";
  EXPECT_GT(gpu->plan()->end_step() - gpu->plan()->first_step(), 3);
  EXPECT_THAT(*memory_store_.Events(id, 0, 1000),
              testing::Contains(testing::Property(
                  &v1::Event::message, HasSubstr("formed of c (cpu) and g (cuda:0) trains from"))));
}

TEST_F(SplitTest, WorkersOfOneKindShareEquallyUnlessToldToMeasure) {
  const std::string id = Submit(Yaml("auto"));
  Worker("w-0", "cpu test x1", 0.3);
  Worker("w-1", "cpu test x1", 0.1);
  RoundsUntil([&] { return Get(id).step() > 40; });
  EXPECT_THAT(Sequences(id), ElementsAre(8, 8));
  ASSERT_OK(coordinator_->Cancel(id, true));
  const std::string measured = Submit(Yaml("measured"));
  RoundsUntil([&] { return Get(measured).step() > 40; });
  EXPECT_THAT(Sequences(measured), ElementsAre(4, 12));
}

TEST_F(SplitTest, EqualIsEqualWhateverTheWorkersAre) {
  const std::string id = Submit(Yaml("equal"));
  Worker("w-0", "cpu test x1", 0.3);
  Worker("w-1", "cpu test x4", 0.1);
  RoundsUntil([&] { return Get(id).step() > 40; });
  EXPECT_THAT(Sequences(id), ElementsAre(8, 8));
  EXPECT_THAT(Splits(id), ElementsAre());
}

}  // namespace
}  // namespace tritter
