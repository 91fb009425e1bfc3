#include "tritterctl/client_context.h"

#include <cstdlib>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kContexts[] =
    "current: lab\n"
    "contexts:\n"
    "  - {name: lab, coordinator: \"gpu1:7070\", tls_ca: ca.pem, token_file: /etc/token}\n"
    "  - {name: far, server: \"gpu2:8080\", tls_ca: system, tls_server_name: gpu2.example.org}\n";

TEST(ClientContext, TakesTheOneThatIsNamedOrTheCurrentOne) {
  ASSERT_OK_AND_ASSIGN(const ClientContext lab,
                       ParseContexts(kContexts, "/home/a/config.yaml", ""));
  EXPECT_EQ(lab.coordinator, "gpu1:7070");
  EXPECT_EQ(lab.server, "");
  EXPECT_EQ(lab.security.tls_authority, "/home/a/ca.pem");  // beside the file
  EXPECT_EQ(lab.security.token_file, "/etc/token");
  ASSERT_OK_AND_ASSIGN(const ClientContext far,
                       ParseContexts(kContexts, "/home/a/config.yaml", "far"));
  EXPECT_EQ(far.server, "gpu2:8080");
  EXPECT_EQ(far.security.tls_authority, kSystemAuthorities);
  EXPECT_EQ(far.security.tls_server_name, "gpu2.example.org");
  EXPECT_EQ(far.security.token_file, "");
}

TEST(ClientContext, SaysWhichThereAreAndWhatIsWrong) {
  EXPECT_THAT(ParseContexts(kContexts, "c.yaml", "lba"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("lab, far"), HasSubstr("did you mean lab?"))));
  EXPECT_THAT(ParseContexts("contexts:\n  - {name: a, tokenfile: x}\n", "c.yaml", "a"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("c.yaml:2:"), HasSubstr("token_file"))));
  EXPECT_THAT(ParseContexts("contexts:\n  - {name: a}\n  - {name: a}\n", "c.yaml", "a"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("same name")));
  ASSERT_OK_AND_ASSIGN(const ClientContext none, ParseContexts("contexts: []\n", "c.yaml", ""));
  EXPECT_EQ(none.coordinator, "");
}

TEST(ClientContext, EntersTheEnvironmentBehindWhatIsSetAndLeavesNothing) {
  MemoryEnv env;
  ASSERT_OK(env.CreateDirs("/home/a"));
  ASSERT_OK(WriteFileAtomically(&env, "/home/a/config.yaml", kContexts));
  setenv("TRITTER_CONFIG", "/home/a/config.yaml", 1);
  setenv("TRITTER_TLS_CA", "mine.pem", 1);
  setenv("TRITTER_TLS_KEY", "mine.key", 1);
  const char* const arguments[] = {"tritterctl", "get", "runs"};
  const auto value = [](const char* name) {
    const char* const v = std::getenv(name);
    return v == nullptr ? "" : std::string(v);
  };
  ASSERT_OK(UseClientContext(&env, 3, arguments));
  EXPECT_EQ(value("TRITTER_COORDINATOR"), "gpu1:7070");
  EXPECT_EQ(value("TRITTER_TLS_CA"), "mine.pem");
  EXPECT_EQ(value("TRITTER_TOKEN_FILE"), "/etc/token");
  ForgetClientEnvironment();
  for (const char* name :
       {"TRITTER_COORDINATOR", "TRITTER_TLS_CA", "TRITTER_TLS_KEY", "TRITTER_TOKEN_FILE"}) {
    EXPECT_EQ(std::getenv(name), nullptr) << name;
  }
  setenv("TRITTER_TOKEN", "a-token-of-the-environment", 1);
  ASSERT_OK(UseClientContext(&env, 3, arguments));
  EXPECT_EQ(value("TRITTER_TOKEN_FILE"), "");
  ForgetClientEnvironment();
  EXPECT_EQ(value("TRITTER_TOKEN"), "");
  const char* const unknown[] = {"tritterctl", "--context=near", "get", "runs"};
  EXPECT_THAT(UseClientContext(&env, 4, unknown),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"near\"")));
  unsetenv("TRITTER_CONFIG");
}

}  // namespace
}  // namespace tritter
