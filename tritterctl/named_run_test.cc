#include "tritterctl/named_run.h"

#include <gtest/gtest.h>

#include "tritterctl/testing/demo_run.h"

namespace tritter {
namespace {

TEST(NamedRun, ADerivedNameSaysOnceHowTheRunWasMade) {
  EXPECT_EQ(DerivedName("nano", "clone"), "nano-clone");
  EXPECT_EQ(DerivedName("nano-clone", "clone"), "nano-clone");
  EXPECT_EQ(DerivedName("nano-clone-12", "clone"), "nano-clone");
  EXPECT_EQ(DerivedName("nano-clone-12", "extended"), "nano-clone-12-extended");
  EXPECT_EQ(DerivedName("nano-2", "clone"), "nano-2-clone");
  EXPECT_EQ(DerivedName("clone", "clone"), "clone-clone");
  EXPECT_EQ(DerivedName("12", "clone"), "12-clone");
  EXPECT_EQ(DerivedName(std::string(63, 'a'), "clone"), std::string(57, 'a') + "-clone");
}

TEST(NamedRun, WhoNamesOneOfSeveralIsToldWhich) {
  v1::Run run = DemoRun();
  EXPECT_EQ(RunTitle(run), "demo (r-1)");
  EXPECT_EQ(TakenNote(run), "") << "named by its id";
  run.set_runs_of_name(1);
  EXPECT_EQ(TakenNote(run), "");
  run.set_runs_of_name(3);
  EXPECT_EQ(TakenNote(run), "3 runs are named demo; this is the newest, r-1");
}

}  // namespace
}  // namespace tritter
