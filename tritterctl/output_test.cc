#include "tritterctl/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

TEST(OutputFormat, KnowsItsNames) {
  EXPECT_EQ(*ParseOutputFormat("yaml"), OutputFormat::kYaml);
  EXPECT_THAT(ParseOutputFormat("xml"), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 HasSubstr("table, wide, json, yaml or name")));
}

TEST(FormatTable, PadsColumnsAndTrimsLineEnds) {
  EXPECT_EQ(FormatTable({"A", "LONG", "C"}, {{"aaa", "b", ""}, {"a", "b", "c"}}),
            "A    LONG  C\n"
            "aaa  b\n"
            "a    b     c\n");
}

TEST(FormatYaml, IsReadBackAsTheSameValues) {
  const OrderedJson json = {{"word", "running"},
                            {"reserved", "null"},
                            {"text", "two: \"lines\"\nhere #"},
                            {"number", 12},
                            {"looks_like_number", "1e3"},
                            {"real", 0.25},
                            {"nothing", nullptr},
                            {"yes", true},
                            {"empty_list", OrderedJson::array()},
                            {"empty_map", OrderedJson::object()},
                            {"list", {1, "two", {{"three", 3}, {"four", {4, 5}}}}},
                            {"map", {{"inner", {{"deep", "x y"}}}}}};
  const YAML::Node y = YAML::Load(FormatYaml(json));
  EXPECT_EQ(y["word"].Scalar(), "running");
  EXPECT_EQ(y["reserved"].Scalar(), "null");
  EXPECT_EQ(y["reserved"].Tag(), "!") << "quoted, so a string";
  EXPECT_EQ(y["text"].Scalar(), "two: \"lines\"\nhere #");
  EXPECT_EQ(y["number"].as<int>(), 12);
  EXPECT_EQ(y["looks_like_number"].Tag(), "!");
  EXPECT_EQ(y["real"].as<double>(), 0.25);
  EXPECT_TRUE(y["nothing"].IsNull());
  EXPECT_EQ(y["yes"].as<bool>(), true);
  EXPECT_TRUE(y["empty_list"].IsSequence());
  EXPECT_TRUE(y["empty_map"].IsMap());
  EXPECT_EQ(y["list"][2]["four"][1].as<int>(), 5);
  EXPECT_EQ(y["map"]["inner"]["deep"].Scalar(), "x y");
}

TEST(FormatJson, BytesThatAreNoTextDoNotBreakIt) {
  EXPECT_THAT(FormatJson({{"a", "x\xff"}}), HasSubstr("x\xEF\xBF\xBD"));
}

TEST(Figures, AreShort) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1234567), "1.23 MB");
  EXPECT_EQ(FormatBytes(999.6), "1 kB");
  EXPECT_EQ(FormatSeconds(3.21), "3.2s");
  EXPECT_EQ(FormatSeconds(62), "1m02s");
  EXPECT_EQ(FormatSeconds(3600 * 3 + 240), "3h04m");
  EXPECT_EQ(FormatSeconds(86400 * 3), "3d00h");
  EXPECT_EQ(FormatSeconds(-1), "-");
  EXPECT_EQ(FormatCount(21543), "21.5k");
  EXPECT_EQ(FormatCount(12), "12");
  EXPECT_EQ(FormatCount(1.5e6), "1.5M");
  EXPECT_EQ(FormatTimeMs(0), "-");
  EXPECT_EQ(FormatTimeMs(1700000000000), "2023-11-14 22:13:20");
}

}  // namespace
}  // namespace tritter
