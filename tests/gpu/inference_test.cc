// inference/cuda/testing/forward_suite.cc on the first GPU, through the library that serves.
#include <cstdio>

#include "gtest/gtest.h"
#include "inference/cuda/cuda_loader.h"
#include "inference/cuda/testing/forward_suite.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<ForwardBackend>> MakeDeviceUnderTest(
    const PackedModel& model, KvFormat kv_format, int64_t kv_pages,
    const StreamOptions& streaming) {
  return FindCudaInference().backend->create(0, model, kv_format, kv_pages, streaming);
}

}  // namespace tritter

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const tritter::CudaInference& found = tritter::FindCudaInference();
  if (found.backend == nullptr) {
    std::printf("no GPU: %s\n", found.why_none.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
