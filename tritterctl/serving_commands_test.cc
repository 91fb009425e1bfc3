// chat and bench serve as processes, with an inference service in this one.
#include <signal.h>
#include <sys/stat.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tritterctl/testing/fake_inference_service.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

class ServingCommands : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) {
    return absl::StrCat(::testing::TempDir(), "/",
                        ::testing::UnitTest::GetInstance()->current_test_info()->name(), "-", name);
  }
  // Runs the shell's `command`, whose $0 is tritterctl and $1 the server's address.
  std::unique_ptr<Subprocess> Start(const std::string& command) {
    SubprocessOptions options;
    options.argv = {"/bin/sh", "-c", absl::StrCat(command, " >", Path("out"), " 2>", Path("err")),
                    "tritterctl/tritterctl", server_.address()};
    auto process = Subprocess::Start(options);
    EXPECT_OK(process);
    return *std::move(process);
  }
  int Run(const std::string& command) {
    const auto exit = Start(command)->Wait(absl::Seconds(30));
    EXPECT_TRUE(exit.has_value()) << "hangs";
    return exit.has_value() ? exit->code : -1;
  }
  std::string Out() { return Env::Real()->ReadFile(Path("out")).value_or(""); }
  std::string Err() { return Env::Real()->ReadFile(Path("err")).value_or(""); }

  FakeInference server_;
};

TEST_F(ServingCommands, ChatGoesThroughPipesWithItsHistory) {
  EXPECT_EQ(Run("printf 'a b\\n\\nc\\\\\\nd\\n/reset\\ne' | \"$0\" chat --server \"$1\" "
                "--user-prefix Q: --assistant-prefix A: --system S"),
            0)
      << Err();
  EXPECT_EQ(Out(),
            "S\n\nQ:;a;b\nA:;\n"
            "S\n\nQ:;a;b\nA:;S\n\nQ:;a;b\nA:;\nQ:;c\nd\nA:;\n"
            "S\n\nQ:;e\nA:;\n");
  EXPECT_THAT(Err(), HasSubstr("(forgotten)"));
}

TEST_F(ServingCommands, ChatSendsMessagesToAModelThatTakesThem) {
  EXPECT_EQ(Run("printf 'a\\nb\\n' | \"$0\" chat --server \"$1\" --model chatty --system S"), 0)
      << Err();
  EXPECT_EQ(Out(),
            "system=S;user=a;\n"
            "system=S;user=a;assistant=system=S;user=a;;user=b;\n");
  EXPECT_EQ(Run("echo a | \"$0\" chat --server \"$1\" --model chatty --user-prefix Q:"), 0);
  EXPECT_EQ(Out(), "Q:;a\nAssistant:;\n") << "a prefix asks for plain text";
}

TEST_F(ServingCommands, ChatCommandsAreNotSentToTheModel) {
  EXPECT_EQ(Run("printf '/system T\\n/nonsense\\nx\\n/quit\\ny\\n' | \"$0\" chat --server \"$1\""),
            0);
  EXPECT_EQ(Out(), "T\n\nUser:;x\nAssistant:;\n");
  EXPECT_THAT(Err(), HasSubstr("/nonsense is no command"));
}

TEST_F(ServingCommands, AnInterruptEndsTheAnswerAndNotTheChat) {
  const std::string fifo = Path("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  auto process = Start("exec \"$0\" chat --server \"$1\" <" + fifo);
  std::ofstream input(fifo);
  input << "hang\n" << std::flush;
  while (server_.hanging() == 0) Clock::Real()->Sleep(absl::Milliseconds(1));
  process->Signal(SIGINT);
  input << "x\n" << std::flush;
  input.close();
  const auto exit = process->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 0) << Err();
  EXPECT_EQ(Out(), "\nUser:;x\nAssistant:;\n") << "the interrupted question is forgotten";
}

TEST_F(ServingCommands, AScriptedChatFailsWithTheServersCode) {
  EXPECT_EQ(Run("echo x | \"$0\" chat --server \"$1\" --model missing"), 5);
  EXPECT_EQ(Run("echo x | \"$0\" chat --server 127.0.0.1:1"), 3);
  EXPECT_EQ(Run("\"$0\" chat --server \"$1\" --top-p 0 </dev/null"), 2);
}

TEST_F(ServingCommands, BenchServeCountsWhatWasAsked) {
  for (const char* load : {"--clients 3", "--clients 3 --rate 1000"}) {
    ASSERT_EQ(Run(absl::StrCat("\"$0\" bench serve --server \"$1\" --requests 10 --prompt-tokens 7 "
                               "--output-tokens 5 -o json ",
                               load)),
              0)
        << Err();
    const nlohmann::json json = nlohmann::json::parse(Out());
    EXPECT_EQ(json["requests"], 10);
    EXPECT_EQ(json["failed"], 0);
    EXPECT_EQ(json["prompt_tokens"], 70);
    EXPECT_EQ(json["generated_tokens"], 50);
    EXPECT_EQ(json["model"], "fake");
    EXPECT_GT(json["first_token_seconds"]["p99"], 0);
    EXPECT_GE(json["inter_token_seconds"]["p95"], json["inter_token_seconds"]["p50"]);
  }
  EXPECT_EQ(Run("\"$0\" bench serve --server \"$1\" --requests 2"), 0);
  EXPECT_THAT(Out(), HasSubstr("between tokens"));
}

TEST_F(ServingCommands, BenchKernelsHoldsProductsAgainstTheMachine) {
  ASSERT_EQ(Run("\"$0\" bench kernels --kernel scalar --threads 1 --seconds 0.001 -o json"), 0)
      << Err();
  const nlohmann::json json = nlohmann::json::parse(Out());
  EXPECT_GT(json["read_bytes_per_second"], 0);
  ASSERT_EQ(json["products"].size(), 1);
  EXPECT_EQ(json["products"][0]["kernel"], "scalar");
  EXPECT_GT(json["products"][0]["operations_per_second"], 0);
  EXPECT_EQ(Run("\"$0\" bench kernels --kernel none"), 2);
  EXPECT_THAT(Err(), HasSubstr("this processor runs scalar"));
}

TEST_F(ServingCommands, BenchServeTellsFailures) {
  EXPECT_EQ(Run("\"$0\" bench serve --server \"$1\" --requests 3 --output-tokens 2000 -o json"), 1);
  EXPECT_EQ(nlohmann::json::parse(Out())["errors"]["OUT_OF_RANGE"], 3);
  EXPECT_EQ(Run("\"$0\" bench serve --server \"$1\" --model missing"), 5);
  EXPECT_EQ(Run("\"$0\" bench serve --server 127.0.0.1:1"), 3);
  EXPECT_EQ(Run("\"$0\" bench serve --rate -1"), 2);
  EXPECT_EQ(Run("\"$0\" bench"), 2);
}

}  // namespace
}  // namespace tritter
