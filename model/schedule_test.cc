#include "model/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

// Values of the published formula, worked out apart from this code. peak 6e-4, min 6e-5.
struct Golden {
  DecayShape shape;
  int64_t warmup, decay_start, total, step;
  double rate;
};
constexpr Golden kGolden[] = {
    // W = 10, S = 810, T = 1000: W - 1, W, S - 1, S, in between, T - 1.
    {DecayShape::kCosine, 10, 810, 1000, 0, 6e-05},
    {DecayShape::kCosine, 10, 810, 1000, 9, 6e-04},
    {DecayShape::kCosine, 10, 810, 1000, 10, 6e-04},
    {DecayShape::kCosine, 10, 810, 1000, 809, 6e-04},
    {DecayShape::kCosine, 10, 810, 1000, 810, 0.00059996309234796653},
    {DecayShape::kCosine, 10, 810, 1000, 905, 0.00032553583491308317},
    {DecayShape::kCosine, 10, 810, 1000, 998, 6.0036907652033373e-05},
    {DecayShape::kCosine, 10, 810, 1000, 999, 6e-05},
    {DecayShape::kLinear, 10, 810, 1000, 0, 6e-05},
    {DecayShape::kLinear, 10, 810, 1000, 9, 6e-04},
    {DecayShape::kLinear, 10, 810, 1000, 10, 6e-04},
    {DecayShape::kLinear, 10, 810, 1000, 809, 6e-04},
    {DecayShape::kLinear, 10, 810, 1000, 810, 0.00059715789473684209},
    {DecayShape::kLinear, 10, 810, 1000, 905, 0.00032715789473684208},
    {DecayShape::kLinear, 10, 810, 1000, 998, 6.284210526315791e-05},
    {DecayShape::kLinear, 10, 810, 1000, 999, 6e-05},
    {DecayShape::kSqrt, 10, 810, 1000, 0, 6e-05},
    {DecayShape::kSqrt, 10, 810, 1000, 9, 6e-04},
    {DecayShape::kSqrt, 10, 810, 1000, 10, 6e-04},
    {DecayShape::kSqrt, 10, 810, 1000, 809, 6e-04},
    {DecayShape::kSqrt, 10, 810, 1000, 810, 0.0005564714249933992},
    {DecayShape::kSqrt, 10, 810, 1000, 905, 0.00017350880801345346},
    {DecayShape::kSqrt, 10, 810, 1000, 998, 6e-05},
    {DecayShape::kSqrt, 10, 810, 1000, 999, 6e-05},
    // no_stable: S = W.
    {DecayShape::kCosine, 10, 10, 1000, 0, 6e-05},
    {DecayShape::kCosine, 10, 10, 1000, 9, 6e-04},
    {DecayShape::kCosine, 10, 10, 1000, 10, 0.00059999864055149869},
    {DecayShape::kCosine, 10, 10, 1000, 505, 0.00032914320344155793},
    {DecayShape::kCosine, 10, 10, 1000, 999, 6e-05},
    {DecayShape::kLinear, 10, 10, 1000, 10, 0.00059945454545454538},
    {DecayShape::kSqrt, 10, 10, 1000, 10, 0.0005809307482150881},
    // Tiny totals: all warm-up; warm-up and one step of decay; no warm-up; no decay.
    {DecayShape::kCosine, 1, 1, 1, 0, 6e-04},
    {DecayShape::kCosine, 1, 1, 2, 0, 6e-04},
    {DecayShape::kCosine, 1, 1, 2, 1, 6e-05},
    {DecayShape::kLinear, 1, 1, 2, 1, 6e-05},
    {DecayShape::kSqrt, 1, 1, 2, 1, 6e-05},
    {DecayShape::kCosine, 0, 3, 4, 0, 6e-04},
    {DecayShape::kCosine, 0, 3, 4, 2, 6e-04},
    {DecayShape::kCosine, 0, 3, 4, 3, 6e-05},
    {DecayShape::kCosine, 2, 4, 4, 0, 3e-04},
    {DecayShape::kCosine, 2, 4, 4, 1, 6e-04},
    {DecayShape::kCosine, 2, 4, 4, 3, 6e-04},
};

TEST(LrAt, AgreesWithTheGoldenTable) {
  for (const Golden& g : kGolden) {
    const ScheduleSpec spec{6e-4, 6e-5, g.warmup, g.decay_start, g.total, g.shape};
    EXPECT_NEAR(LrAt(g.step, spec), g.rate, 1e-15)
        << DecayShapeName(g.shape) << " W " << g.warmup << " S " << g.decay_start << " T "
        << g.total << " t " << g.step;
  }
}

TEST(LrAt, NeverRisesDuringDecayAndEndsAtTheMinimum) {
  for (const DecayShape shape : {DecayShape::kCosine, DecayShape::kLinear, DecayShape::kSqrt}) {
    const ScheduleSpec spec{3e-3, 3e-4, 50, 960, 1200, shape};
    for (int64_t t = 960; t < 1200; ++t) EXPECT_LE(LrAt(t, spec), LrAt(t - 1, spec)) << t;
    EXPECT_NEAR(LrAt(1199, spec), 3e-4, 1e-15);
  }
}

TEST(LrAt, AnExtendedRunKeepsEverythingBeforeItsDecay) {
  const ScheduleSpec before{6e-4, 6e-5, 10, 810, 1000, DecayShape::kCosine};
  for (const int64_t total : {2000, 900}) {
    const ScheduleSpec after = WithTotalSteps(before, total);
    EXPECT_EQ(after.warmup_steps, 10);
    EXPECT_EQ(after.decay_start_step, total - 190);
    for (int64_t t = 0; t < std::min<int64_t>(810, total - 190); ++t)
      EXPECT_EQ(LrAt(t, before), LrAt(t, after)) << t;
    for (int64_t t = 0; t < 190; ++t)
      EXPECT_EQ(LrAt(810 + t, before), LrAt(total - 190 + t, after)) << t;
  }
}

TEST(LrAt, StepsOutsideTheRunTakeTheValueAtItsEnd) {
  const ScheduleSpec spec{6e-4, 6e-5, 10, 810, 1000, DecayShape::kLinear};
  EXPECT_EQ(LrAt(-5, spec), LrAt(0, spec));
  EXPECT_EQ(LrAt(1000, spec), LrAt(999, spec));
  EXPECT_EQ(LrAt(1 << 30, spec), LrAt(999, spec));
}

}  // namespace
}  // namespace tritter
