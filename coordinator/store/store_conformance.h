// One suite for every form of Store. Instantiate StoreConformance with a factory.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "coordinator/store/store.h"
#include "coordinator/store/store_samples.h"

namespace tritter {

struct StoreForm {
  std::string name;
  // A fresh, empty store in `folder` (a temporary one for this test). What it stands on must live
  // as long as it does. Null: what it stands on is not installed here.
  std::function<std::shared_ptr<Store>(const std::string& folder)> open;
};

class StoreConformance : public testing::TestWithParam<StoreForm> {
 protected:
  void SetUp() override {
    store_ = GetParam().open(folder_.path());
    if (store_ == nullptr) GTEST_SKIP() << GetParam().name << " is not installed here";
  }

  TemporaryFolder folder_;
  std::shared_ptr<Store> store_;
};

}  // namespace tritter
