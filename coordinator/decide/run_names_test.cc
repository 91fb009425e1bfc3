#include "coordinator/decide/run_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

using testing::EndsWith;
using testing::Optional;

Namesake Of(const std::string& id, v1::RunState state, absl::Duration age = absl::Seconds(41)) {
  return {.run_id = id, .state = state, .age = age};
}

std::optional<size_t> Chosen(const std::vector<Namesake>& runs) { return RunToChange(runs); }

TEST(RunNames, AChangeIsForTheOnlyOneOrTheOnlyOneThatHasNotEnded) {
  const Namesake running = Of("r1", v1::RUN_STATE_RUNNING), paused = Of("r2", v1::RUN_STATE_PAUSED),
                 complete = Of("r3", v1::RUN_STATE_COMPLETED),
                 failed = Of("r4", v1::RUN_STATE_FAILED);
  EXPECT_THAT(Chosen({running}), Optional(0));
  EXPECT_THAT(Chosen({complete}), Optional(0));
  EXPECT_THAT(Chosen({complete, paused}), Optional(1));
  EXPECT_THAT(Chosen({running, complete, failed}), Optional(0));
  EXPECT_EQ(Chosen({running, paused}), std::nullopt);
  EXPECT_EQ(Chosen({complete, failed}), std::nullopt);
  EXPECT_EQ(Chosen({}), std::nullopt);
}

TEST(RunNames, WhoAsksForOneOfSeveralIsToldEach) {
  EXPECT_EQ(AmbiguityWords(
                "nano", std::vector<Namesake>{Of("r2", v1::RUN_STATE_RUNNING),
                                              Of("r1", v1::RUN_STATE_COMPLETED, absl::Hours(5))}),
            "2 runs are named nano: r2 (running, submitted 41 s ago) and r1 (completed, submitted "
            "5 h ago)");
  std::vector<Namesake> many;
  for (int i = 0; i < 13; ++i)
    many.push_back(Of(absl::StrCat("r", i), v1::RUN_STATE_FAILED, absl::Hours(24 * 4)));
  EXPECT_THAT(AmbiguityWords("nano", many),
              EndsWith("r9 (failed, submitted 4 days ago) and 3 older ones"));
}

TEST(RunNames, ADistinctNameIsTheFirstThatNoneHas) {
  EXPECT_EQ(DistinctName("nano", {"other"}), "nano");
  EXPECT_EQ(DistinctName("nano", {"nano"}), "nano-2");
  EXPECT_EQ(DistinctName("nano", {"nano", "nano-2", "nano-4"}), "nano-3");
  const std::string longest(63, 'a');
  EXPECT_EQ(DistinctName(longest + "b", {}), longest);
  EXPECT_EQ(DistinctName(longest, {longest}), std::string(61, 'a') + "-2");
}

}  // namespace
}  // namespace tritter
