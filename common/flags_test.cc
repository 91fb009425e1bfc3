#include "common/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "common/version.h"

namespace tritter {
namespace {

class Flags : public testing::Test {
 protected:
  Flags() : app_("test program") {
    app_.AddFlag("--listen", &listen_, "address");
    app_.AddFlag("-n,--max-steps", &steps_, "steps");
    app_.AddFlag("--insecure", &insecure_, "no TLS");
    AddCommonFlags(&app_, &log_);
    CommandLine* pack = app_.AddCommand("pack", "a command");
    pack->AddFlag("what", &what_, "an argument");
    pack->AddFlag("--level", &level_, "of the packing");
    CommandLine* check = app_.AddCommand("check", "another");
    check->AddFlag("--limit", &limit_, "of the checks");
  }
  void TearDown() override {
    for (const char* name : {"TRITTER_LISTEN", "TRITTER_MAX_STEPS", "TRITTER_INSECURE",
                             "TRITTER_LEVEL", "TRITTER_LIMIT", "TRITTER_WHAT"}) {
      unsetenv(name);
    }
  }
  std::optional<int> Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "test");
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const std::optional<int> code =
        ParseFlags(&app_, static_cast<int>(arguments.size()), arguments.data());
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return code;
  }

  CommandLine app_;
  std::string listen_ = "127.0.0.1:7000", out_, err_;
  int steps_ = 10;
  bool insecure_ = false;
  std::string what_;
  int level_ = 1, limit_ = 1;
  LogFlags log_;
};

TEST_F(Flags, DefaultsStay) {
  EXPECT_EQ(Parse({}), std::nullopt);
  EXPECT_EQ(listen_, "127.0.0.1:7000");
  EXPECT_EQ(steps_, 10);
  EXPECT_FALSE(insecure_);
}

TEST_F(Flags, EnvironmentTwinIsReadAndTheCommandLineWins) {
  setenv("TRITTER_LISTEN", "env:1", 1);
  setenv("TRITTER_MAX_STEPS", "20", 1);
  setenv("TRITTER_INSECURE", "true", 1);
  EXPECT_EQ(Parse({"--max-steps", "30"}), std::nullopt);
  EXPECT_EQ(listen_, "env:1");
  EXPECT_EQ(steps_, 30);
  EXPECT_TRUE(insecure_);
}

TEST_F(Flags, OptionsOfACommandHaveTwinsToo) {
  setenv("TRITTER_LEVEL", "5", 1);
  setenv("TRITTER_WHAT", "not an option", 1);
  setenv("TRITTER_LIMIT", "many", 1);
  EXPECT_EQ(Parse({"pack"}), std::nullopt) << "the twin of another command does not count";
  EXPECT_EQ(level_, 5);
  EXPECT_EQ(what_, "");
  EXPECT_EQ(Parse({"pack", "--level", "6"}), std::nullopt);
  EXPECT_EQ(level_, 6);
  EXPECT_EQ(Parse({"pack", "--help"}), 0);
  EXPECT_THAT(out_, testing::HasSubstr("TRITTER_LEVEL"));
}

TEST_F(Flags, WrongTwinOfTheCalledCommandIsWrongUse) {
  setenv("TRITTER_LIMIT", "many", 1);
  EXPECT_EQ(Parse({"check"}), kExitUsage);
}

TEST_F(Flags, WrongUseIsExitCodeTwoOnStderr) {
  EXPECT_EQ(Parse({"--max-steps", "many"}), kExitUsage);
  EXPECT_THAT(err_, testing::HasSubstr("max-steps"));
  EXPECT_EQ(out_, "");
  EXPECT_EQ(Parse({"--unknown"}), kExitUsage);
  EXPECT_THAT(err_, testing::HasSubstr("--unknown"));
}

TEST_F(Flags, WrongTwinIsWrongUseToo) {
  setenv("TRITTER_MAX_STEPS", "many", 1);
  EXPECT_EQ(Parse({}), kExitUsage);
}

TEST_F(Flags, HelpAndVersionGoToStdoutAndSucceed) {
  EXPECT_EQ(Parse({"--help"}), 0);
  EXPECT_THAT(out_, testing::HasSubstr("TRITTER_MAX_STEPS"));
  EXPECT_THAT(out_, testing::HasSubstr("127.0.0.1:7000"));
  EXPECT_EQ(Parse({"--version"}), 0);
  EXPECT_THAT(out_, testing::HasSubstr(kVersion));
}

TEST_F(Flags, LogFlagsAreChecked) {
  EXPECT_EQ(Parse({"--log-level", "debug", "--log-format", "json"}), std::nullopt);
  EXPECT_EQ(log_.level, LogLevel::kDebug);
  EXPECT_EQ(log_.format, "json");
  EXPECT_EQ(Parse({"--log-level", "loud"}), kExitUsage);
  EXPECT_THAT(err_, testing::HasSubstr("expected debug, info, warning or error, got loud"));
  EXPECT_EQ(Parse({"--log-format", "xml"}), kExitUsage);
}

TEST(EnvName, ComesFromTheLongName) {
  EXPECT_EQ(EnvName("--listen"), "TRITTER_LISTEN");
  EXPECT_EQ(EnvName("-o,--output-format"), "TRITTER_OUTPUT_FORMAT");
  EXPECT_EQ(EnvName("--tls,!--no-tls"), "TRITTER_TLS");
}

}  // namespace
}  // namespace tritter
