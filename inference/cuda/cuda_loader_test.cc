#include "inference/cuda/cuda_loader.h"

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

// Folder of a library of testing/fake_backend.cc.
std::string Fake(const std::string& which) {
  return std::string(getenv("TEST_SRCDIR")) + "/tritter/inference/cuda/testing/" + which;
}

TEST(ParseInferenceDevice, KnowsCpuCudaAndAuto) {
  using Kind = InferenceDevice::Kind;
  EXPECT_EQ(ParseInferenceDevice("cpu")->kind, Kind::kCpu);
  EXPECT_EQ(ParseInferenceDevice("auto")->kind, Kind::kAuto);
  EXPECT_EQ(ParseInferenceDevice("cuda")->ordinal, 0);
  EXPECT_EQ(ParseInferenceDevice("cuda:3")->kind, Kind::kCuda);
  EXPECT_EQ(ParseInferenceDevice("cuda:3")->ordinal, 3);
  for (const char* bad : {"", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "cpu:0"})
    EXPECT_THAT(ParseInferenceDevice(bad).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cuda:N")))
        << bad;
}

TEST(CudaInference, SaysWhatIsMissingAndWhatToDo) {
  EXPECT_THAT(FindCudaInferenceIn({"/nowhere", "/nor/here"}).why_none,
              HasSubstr("no libtritter_inference_cuda.so in /nowhere or /nor/here (bazel build "
                        "--config=cuda"));
  EXPECT_THAT(FindCudaInferenceIn({"/nowhere", Fake("no_device")}).why_none,
              HasSubstr("no device (see nvidia-smi"));
  EXPECT_THAT(FindCudaInferenceIn({Fake("other_version")}).why_none,
              HasSubstr("is of version 3, this server needs 2; build both"));
}

TEST(ChooseDevice, NeverTakesAnotherDeviceThanAsked) {
  const CudaInference none = FindCudaInferenceIn({"/nowhere"});
  EXPECT_EQ(ChooseDevice(*ParseInferenceDevice("cpu"), none)->factory, nullptr);
  EXPECT_THAT(ChooseDevice(*ParseInferenceDevice("cuda"), none).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--device cpu")));
  ASSERT_OK_AND_ASSIGN(const ChosenDevice automatic,
                       ChooseDevice(*ParseInferenceDevice("auto"), none));
  EXPECT_EQ(automatic.name, "cpu");
  EXPECT_EQ(automatic.factory, nullptr);
  EXPECT_THAT(automatic.why_cpu, HasSubstr("bazel build"));
}

TEST(ChooseDevice, GivesTheGpuThatIsAskedFor) {
  const CudaInference two = FindCudaInferenceIn({Fake("two_devices")});
  ASSERT_NE(two.backend, nullptr) << two.why_none;
  ASSERT_OK_AND_ASSIGN(const ChosenDevice second,
                       ChooseDevice(*ParseInferenceDevice("cuda:1"), two));
  EXPECT_EQ(second.name, "cuda:1 Fake 1");
  ASSERT_NE(second.factory, nullptr);
  EXPECT_EQ(ChooseDevice(*ParseInferenceDevice("auto"), two)->name, "cuda:0 Fake 0");
  EXPECT_THAT(ChooseDevice(*ParseInferenceDevice("cuda:2"), two).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("no device cuda:2, the CUDA driver shows 2")));
}

}  // namespace
}  // namespace tritter
