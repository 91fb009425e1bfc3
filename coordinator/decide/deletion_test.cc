#include "coordinator/decide/deletion.h"

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

TEST(DecideDeletion, OnlyWhatHasEndedAndNobodyNeedsMayGo) {
  struct Case {
    DeletionFacts facts;
    const char* obstacle;
    const char* hint;
  };
  const v1::RunState ended = v1::RUN_STATE_COMPLETED;
  const Case cases[] = {
      {{ended, {}, {}, false, {}}, "", ""},
      {{v1::RUN_STATE_FAILED, {}, {}, false, {}}, "", ""},
      {{v1::RUN_STATE_CANCELLED, {}, {}, false, {}}, "", ""},
      {{v1::RUN_STATE_RUNNING, {}, {}, false, {}},
       "it is running",
       "end it first: `tritterctl cancel nano`"},
      {{v1::RUN_STATE_PAUSED, {"b (r-b)"}, {}, true, {}},
       "it is paused",
       "end it first: `tritterctl cancel nano`"},
      {{ended, {"b (r-b)"}, {}, true, {}},
       "b (r-b) works on it or waits for it",
       "wait for their end, or cancel them first"},
      {{ended, {"a", "b", "c", "d", "e", "f"}, {}, false, {}},
       "a, b, c, d and 2 more work on it or wait for it",
       "wait for their end, or cancel them first"},
      {{ended, {}, {"c (r-c)"}, true, {"w-1"}},
       "c (r-c) may work on it or wait for it: the stored configuration cannot be read",
       "wait for its end, or cancel it first"},
      {{ended, {}, {}, true, {"w-1"}},
       "worker w-1 is still leaving it, and may be writing its files",
       "try again in a moment: `tritterctl delete nano`"},
      {{ended, {}, {}, false, {"w-1", "w-2"}},
       "workers w-1 and w-2 are still leaving it, and may be writing its files",
       "try again in a moment: `tritterctl delete nano`"},
      {{ended, {}, {}, true, {}},
       "its files are still being tidied after its end",
       "try again in a moment: `tritterctl delete nano`"},
  };
  for (const Case& c : cases) {
    const DeletionVerdict verdict = DecideDeletion("nano", c.facts);
    EXPECT_EQ(verdict.obstacle, c.obstacle);
    EXPECT_EQ(verdict.hint, c.hint);
  }
}

}  // namespace
}  // namespace tritter
