#include "inference/serve_options.h"

#include "common/flags.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

ServeOptions Valid() {
  ServeOptions o;
  o.models = {"m.tpack"};
  return o;
}

TEST(ServeOptions, ModelNameComesFromTheArgumentOrTheFile) {
  EXPECT_EQ(ParseModelArgument("a/b.tpack=chat").path, "a/b.tpack");
  EXPECT_EQ(ParseModelArgument("a/b.tpack=chat").name, "chat");
  EXPECT_EQ(ParseModelArgument("a/b.tpack").name, "b");
  EXPECT_EQ(ParseModelArgument("x=1/b.tpack").path, "x=1/b.tpack");
}

TEST(ServeOptions, ReadsSizesWithUnits) {
  CommandLine app("x");
  ServeOptions o;
  AddServeFlags(&app, &o);
  const char* argv[] = {"x",  "--model", "m", "--max-kv-memory", "512MiB", "--max-weight-memory",
                        "2GB"};
  EXPECT_EQ(ParseFlags(&app, 7, argv), std::nullopt);
  EXPECT_EQ(o.max_kv_memory, uint64_t{512} << 20);
  EXPECT_EQ(o.max_weight_memory, uint64_t{2000000000});
}

TEST(ServeOptions, GroupsOfLayersHaveAtLeastOne) {
  ServeOptions o = Valid();
  o.stream_layers = 0;
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--stream-layers is 0")));
}

TEST(ServeOptions, MetricsAreThereUnlessSwitchedOff) {
  ServeOptions o;
  EXPECT_EQ(o.metrics_listen, "127.0.0.1:0") << "as in the other servers";
}

TEST(ServeOptions, TheDeviceIsTheCpuAGpuOrWhatThereIs) {
  ServeOptions o = Valid();
  EXPECT_EQ(o.device, "cpu");
  for (const char* device : {"cpu", "cuda", "cuda:1", "auto"}) {
    o.device = device;
    EXPECT_OK(CheckServeOptions(o, nullptr));
  }
  o.device = "gpu";
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--device is \"gpu\": expected cpu, cuda, cuda:N")));
}

TEST(ServeOptions, AStepIsBounded) {
  ServeOptions o = Valid();
  o.prefill_chunk = 4097;
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--prefill-chunk is 4097")));
}

TEST(ServeOptions, TimesAreMoreThanNothingAndADayAtMost) {
  ServeOptions o = Valid();
  o.idle_limit_seconds = 0;
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--idle-limit is 0, allowed are more than 0 to 86400 seconds")));
  o.idle_limit_seconds = 86400;
  EXPECT_OK(CheckServeOptions(o, nullptr));
  o.time_limit_seconds = 86401;
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--time-limit is 86401")));
}

TEST(ServeOptions, RefusesToListenBeyondLoopbackUnlessTold) {
  ServeOptions o = Valid();
  EXPECT_OK(CheckServeOptions(o, nullptr));
  o.listen = "0.0.0.0:8080";
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--insecure")));
  o.security.insecure = true;
  EXPECT_OK(CheckServeOptions(o, nullptr));
  o.security.insecure = false;
  o.listen = "127.0.0.1:0";
  o.http_listen = "0.0.0.0:8081";
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--http-listen: 0.0.0.0")));
  o.security.insecure = true;
  o.listen = "nonsense";
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--listen")));
}

TEST(ServeOptions, RefusesAKernelThatThisCpuDoesNotHave) {
  EXPECT_OK(CheckServeOptions(Valid(), "scalar"));
  EXPECT_THAT(CheckServeOptions(Valid(), "avx9"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("this CPU runs: scalar")));
}

TEST(ServeOptions, NeedsAModelOrAFolderOfThemAndDistinctNames) {
  ServeOptions o;
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--model-root FOLDER")));
  o.model_root = "models";
  EXPECT_OK(CheckServeOptions(o, nullptr));
  o.models = {"a/x.tpack", "b/x.tpack=y"};
  EXPECT_OK(CheckServeOptions(o, nullptr));
  o.models.push_back("c/y.tpack");
  EXPECT_THAT(CheckServeOptions(o, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("called \"y\" already")));
}

TEST(ServeOptions, ReadyReportNamesTheAddress) {
  EXPECT_EQ(ReadyJson({"127.0.0.1:5", "", "", {"m"}, "avx2", 7}),
            "{\"address\":\"127.0.0.1:5\",\"models\":[\"m\"],\"kernel\":\"avx2\",\"pid\":7}\n");
}

}  // namespace
}  // namespace tritter
