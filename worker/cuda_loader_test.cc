#include "worker/cuda_loader.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using testing::HasSubstr;

TEST(CudaLoader, SaysWhereItLookedAndWhatToBuild) {
  const CudaDevices found = FindCudaDevicesIn({"/nowhere", "/nowhere/lib"});
  EXPECT_EQ(found.backend, nullptr);
  EXPECT_EQ(found.count, 0);
  EXPECT_THAT(found.why_none, HasSubstr("no libtritter_worker_cuda.so in /nowhere or "
                                        "/nowhere/lib (bazel build --config=cuda"));
}

TEST(CudaLoader, ALibraryThatCannotBeLoadedIsAReasonAndNoCrash) {
  const std::string folder = std::getenv("TEST_TMPDIR");
  std::ofstream(folder + "/libtritter_worker_cuda.so") << "no library";
  const CudaDevices found = FindCudaDevicesIn({"/nowhere", folder});
  EXPECT_EQ(found.backend, nullptr);
  // LibTorch's CUDA part is missing, or it is there and this file is none.
  EXPECT_THAT(found.why_none, HasSubstr("cannot be loaded"));
}

}  // namespace
}  // namespace tritter
