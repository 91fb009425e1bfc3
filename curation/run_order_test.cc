#include "curation/run_order.h"

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

RunSpec Spec() {
  RunSpec spec;
  spec.seed = 5;
  spec.global_batch = 6;
  spec.sources = {{"a", "/a", 3.0}, {"b", "/b", 1.0}};
  return spec;
}

TEST(RunOrder, TheWeightsChangeAtTheFirstSlotOfAStage) {
  RunSpec spec = Spec();
  spec.stages = {{.from = 10, .weights = {{"b", 1.0}}}, {.from = 25, .weights = {{"a", 2.0}}}};
  ASSERT_OK_AND_ASSIGN(const SampleOrder order, RunOrder(spec, {500, 400}));
  for (uint64_t slot = 60; slot < 300; ++slot)
    EXPECT_EQ(order.At(slot).source, slot < 150 ? 1 : 0) << slot;
  // Exact, whatever the stages: what is refused for too many epochs is decided by these counts.
  for (const uint64_t end : {0, 1, 59, 60, 150, 200, 2000}) {
    std::vector<uint64_t> want(2);
    for (uint64_t slot = 0; slot < end; ++slot) ++want[order.At(slot).source];
    EXPECT_EQ(order.Counts(end), want) << end;
  }
}

TEST(RunOrder, AStageFromTheFirstStepTakesThePlaceOfTheSourcesWeights) {
  RunSpec spec = Spec();
  spec.stages = {{.from = 0, .weights = {{"b", 1.0}}}};
  ASSERT_OK_AND_ASSIGN(const SampleOrder order, RunOrder(spec, {500, 400}));
  EXPECT_EQ(order.Counts(1000), (std::vector<uint64_t>{0, 1000}));
}

TEST(RunOrder, WorkersInAnyNumberReadTheSameBatch) {
  RunSpec spec = Spec();
  spec.stages = {{.from = 170, .weights = {{"b", 1.0}}}};
  ASSERT_OK_AND_ASSIGN(const SampleOrder order, RunOrder(spec, {500, 400}));
  for (uint64_t step = 160; step < 180; ++step) {  // over the borders of a block and a stage
    const auto whole = order.Range(step * 6, 6);
    for (const uint64_t workers : {2, 3, 6}) {
      for (uint64_t i = 0; i < 6; ++i) {
        const uint64_t share = 6 / workers, rank = i / share;
        const SampleRef ref = order.Range(step * 6 + rank * share, share)[i % share];
        EXPECT_EQ(ref.source, whole[i].source);
        EXPECT_EQ(ref.sample, whole[i].sample);
        EXPECT_EQ(ref.pass, whole[i].pass);
      }
    }
  }
}

}  // namespace
}  // namespace tritter
