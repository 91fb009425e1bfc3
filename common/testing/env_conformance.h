// What every Env must do: instantiate for a form with
//   INSTANTIATE_TEST_SUITE_P(Real, EnvConformance, testing::Values(&MakeRealEnv));
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "common/env.h"

namespace tritter {

// The Env under test with an empty folder to work in; the shared_ptr owns what is behind it.
struct EnvUnderTest {
  std::shared_ptr<void> owner;
  Env* env;
  std::string folder;
};

class EnvConformance : public testing::TestWithParam<std::function<EnvUnderTest()>> {
 protected:
  EnvConformance() : under_test_(GetParam()()), env_(under_test_.env) {}
  std::string Path(absl::string_view name) const { return JoinPath(under_test_.folder, name); }
  void Write(const std::string& path, absl::string_view data);

  EnvUnderTest under_test_;
  Env* const env_;
};

}  // namespace tritter
