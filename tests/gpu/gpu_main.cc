#include "tests/gpu/gpu_main.h"

#include <cstdio>

#include "gtest/gtest.h"
#include "worker/cuda_loader.h"

namespace tritter {

TrainingDevice GpuUnderTest(bool bf16) {
  const CudaDevices& found = FindCudaDevices();
  TrainingDevice device;
  device.ordinal = 0;
  device.name = found.name;
  device.kernels = found.backend->kernels();
  device.bf16 = bf16;
  return device;
}

}  // namespace tritter

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const tritter::CudaDevices& found = tritter::FindCudaDevices();
  if (found.count == 0) {
    std::printf("no GPU: %s\n", found.why_none.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
