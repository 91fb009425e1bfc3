#include "coordinator/decide/devices.h"

#include <gtest/gtest.h>

namespace tritter {
namespace {

TEST(Devices, AGroupOfCpusAndGpusIsMixed) {
  EXPECT_FALSE(AreMixed({}));
  EXPECT_FALSE(AreMixed({"cpu avx2 x4"}));
  EXPECT_FALSE(AreMixed({"cpu avx2 x4", "cpu avx512 x2"}));
  EXPECT_FALSE(AreMixed({"cuda:0 A", "cuda:0 B"}));
  EXPECT_TRUE(AreMixed({"cpu avx2 x4", "cuda:0 A"}));
  EXPECT_TRUE(AreMixed({"cuda:0 A", "cuda:1 A", "cpu avx2 x4"}));
}

TEST(Devices, TheNumberOfAGpuIsNoModel) {
  EXPECT_EQ(DeviceModel("cuda:11 A"), DeviceModel("cuda:0 A"));
  EXPECT_NE(DeviceModel("cuda:0 A"), DeviceModel("cuda:0 B"));
  EXPECT_NE(DeviceModel("cpu avx2 x4"), DeviceModel("cpu avx2 x2"));
}

}  // namespace
}  // namespace tritter
