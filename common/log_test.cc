#include "common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace tritter {
namespace {

using testing::internal::CaptureStderr;
using testing::internal::GetCapturedStderr;

const char kTime[] = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z";

TEST(Log, TextIsOneLineAnEvent) {
  InitLogging("test", LogLevel::kInfo);
  CaptureStderr();
  LogInfo("epoch_formed", {{"run", "r-1"}, {"epoch", 2}, {"loss", 0.5}, {"resumed", true}});
  EXPECT_THAT(
      GetCapturedStderr(),
      testing::MatchesRegex(std::string(kTime) +
                            " INFO test epoch_formed run=r-1 epoch=2 loss=0.5 resumed=true\n"));
}

TEST(Log, ValuesWithSpacesQuotesAndNewlinesAreQuoted) {
  InitLogging("test", LogLevel::kInfo);
  CaptureStderr();
  LogError("failed", {{"reason", "a \"b\"\nc"}, {"empty", ""}, {"utf8", "ö"}});
  EXPECT_THAT(
      GetCapturedStderr(),
      testing::HasSubstr(" ERROR test failed reason=\"a \\\"b\\\"\\nc\" empty=\"\" utf8=ö\n"));
}

TEST(Log, BelowTheLevelNothingIsWritten) {
  InitLogging("test", LogLevel::kWarning);
  CaptureStderr();
  LogInfo("quiet");
  LogDebug("quiet");
  EXPECT_EQ(GetCapturedStderr(), "");
  CaptureStderr();
  LogWarning("loud");
  EXPECT_THAT(GetCapturedStderr(), testing::HasSubstr("WARNING test loud"));
}

TEST(Log, JsonIsOneObjectALineWithTheComponent) {
  InitLogging("coordinator", LogLevel::kInfo, "json");
  CaptureStderr();
  LogInfo("bad", {{"text", "quote \" and \xff"},
                  {"n", 3},
                  {"big", uint64_t{18446744073709551615u}},
                  {"loss", 0.5},
                  {"gone", std::numeric_limits<double>::quiet_NaN()},
                  {"resumed", true},
                  {"digits", "12"}});
  const std::string line = GetCapturedStderr();
  const nlohmann::json object = nlohmann::json::parse(line);
  EXPECT_THAT(object.at("time").get<std::string>(), testing::MatchesRegex(kTime));
  EXPECT_EQ(object.at("level"), "info");
  EXPECT_EQ(object.at("component"), "coordinator");
  EXPECT_EQ(object.at("event"), "bad");
  EXPECT_EQ(object.at("n"), 3);
  EXPECT_EQ(object.at("big"), uint64_t{18446744073709551615u});
  EXPECT_EQ(object.at("loss"), 0.5);
  EXPECT_EQ(object.at("gone"), "nan");
  EXPECT_EQ(object.at("resumed"), true);
  EXPECT_EQ(object.at("digits"), "12") << "a word that looks like a number";
  EXPECT_THAT(object.at("text").get<std::string>(), testing::StartsWith("quote \" and "));
}

TEST(Log, PercentAndBracesAreNotFormats) {
  InitLogging("test", LogLevel::kInfo);
  CaptureStderr();
  LogInfo("odd", {{"value", "{}%n%v"}});
  EXPECT_THAT(GetCapturedStderr(), testing::HasSubstr("odd value={}%n%v\n"));
}

TEST(ParseLogLevel, TakesTheFourNamesOnly) {
  LogLevel level = LogLevel::kInfo;
  EXPECT_TRUE(ParseLogLevel("debug", &level));
  EXPECT_EQ(level, LogLevel::kDebug);
  EXPECT_TRUE(ParseLogLevel("error", &level));
  EXPECT_EQ(level, LogLevel::kError);
  EXPECT_FALSE(ParseLogLevel("loud", &level));
  EXPECT_EQ(level, LogLevel::kError);
}

}  // namespace
}  // namespace tritter
