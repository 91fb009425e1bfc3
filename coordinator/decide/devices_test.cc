#include "coordinator/decide/devices.h"

#include <gtest/gtest.h>

namespace tritter {
namespace {

using Names = std::vector<std::string>;

RunSpec Of(const std::string& optimizer) {
  RunSpec spec;
  spec.optimizer = optimizer;
  return spec;
}

TEST(Devices, CpusAndGpus) {
  EXPECT_FALSE(AreCpusAndGpus({}));
  EXPECT_FALSE(AreCpusAndGpus(Names{"cpu avx2 fma x4", "cpu avx2 x4"}));
  EXPECT_FALSE(AreCpusAndGpus(Names{"cuda:0 A", "cuda:0 B"}));
  EXPECT_TRUE(AreCpusAndGpus(Names{"cuda:0 A", "cuda:1 A", "cpu avx2 fma x4"}));
}

TEST(Devices, AGroupIsMixedWhereAnUpdateMayHaveOtherBits) {
  struct Case {
    Names devices;
    bool adamw, muon;
  };
  for (const Case& c :
       std::vector<Case>{{{}, false, false},
                         {{"cpu avx2 fma x4"}, false, false},
                         {{"cpu avx2 fma x4", "cpu avx2 fma x2"}, false, false},
                         {{"cpu avx2 fma x4", "cpu avx2 fma avx512f x4"}, false, true},
                         {{"cpu avx2 fma x4", "cpu  x4"}, true, true},
                         {{"cpu avx2 fma x4", "cpu avx2 x4"}, true, true},
                         {{"cuda:0 A", "cuda:1 A"}, false, false},
                         {{"cuda:0 A", "cuda:0 B"}, false, true},
                         {{"cpu avx2 fma x4", "cuda:0 A"}, true, true},
                         {{"cuda:0 A", "cuda:1 A", "cpu avx2 fma x4"}, true, true}}) {
    EXPECT_EQ(AreMixed(Of("adamw"), c.devices), c.adamw) << testing::PrintToString(c.devices);
    EXPECT_EQ(AreMixed(Of("muon"), c.devices), c.muon) << testing::PrintToString(c.devices);
  }
}

TEST(Devices, WhichRunsMayGetAMixedGroup) {
  RunSpec spec = Of("adamw");
  spec.max_workers = 2;
  EXPECT_FALSE(MayBeMixed(spec));
  spec.optimizer = "muon";
  EXPECT_TRUE(MayBeMixed(spec));
  spec.max_workers = 1;
  EXPECT_FALSE(MayBeMixed(spec));
  spec = Of("adamw");
  spec.max_workers = 2;
  spec.device = "any";
  EXPECT_TRUE(MayBeMixed(spec));
}

TEST(Devices, TheNumberOfAGpuIsNoModel) {
  EXPECT_EQ(DeviceModel("cuda:11 A"), DeviceModel("cuda:0 A"));
  EXPECT_NE(DeviceModel("cuda:0 A"), DeviceModel("cuda:0 B"));
  EXPECT_NE(DeviceModel("cpu avx2 x4"), DeviceModel("cpu avx2 x2"));
}

}  // namespace
}  // namespace tritter
