#include "access/access_control.h"

#include "absl/strings/str_cat.h"
#include "common/testing/fake_clock.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kAlice[] = "alice-has-this-long-token", kBob[] = "bob-has-another-long-token";

std::string FileFor(const std::string& name, const std::string& token, const std::string& roles) {
  return absl::StrCat("tokens:\n  - {name: ", name, ", roles: [", roles, "], token: ", token,
                      "}\ncertificates:\n  - {name: gpu7, roles: [worker]}\n");
}

Presented WithToken(absl::string_view token) {
  return {absl::StrCat("Bearer ", token), {}, "peer"};
}
Presented WithCertificate(const std::string& name) { return {"", {name}, "peer"}; }

class AccessControlTest : public testing::Test {
 protected:
  void Write(const std::string& text) { ASSERT_OK(WriteFileAtomically(&env_, "/access", text)); }
  std::unique_ptr<AccessControl> Open(AccessOptions options = {"/access", false}) {
    absl::StatusOr<std::unique_ptr<AccessControl>> access =
        AccessControl::Open(&env_, &clock_, options);
    EXPECT_OK(access);
    return *std::move(access);
  }

  MemoryEnv env_;
  FakeClock clock_;
};

TEST_F(AccessControlTest, WithoutFileAndCertificatesEverybodyMayDoEverything) {
  const auto access = Open({"", false});
  EXPECT_FALSE(access->asks());
  EXPECT_OK(access->Admit({}, Role::kOperate, "PauseRun"));
}

TEST_F(AccessControlTest, AsksForATokenThatIsKnownAndForItsRole) {
  Write(FileFor("alice", kAlice, "submit"));
  const auto access = Open();
  ASSERT_OK_AND_ASSIGN(const Caller alice,
                       access->Admit(WithToken(kAlice), Role::kSubmit, "SubmitRun"));
  EXPECT_EQ(alice.name, "alice");
  EXPECT_OK(access->Admit(WithToken(kAlice), Role::kRead, "GetRun"));
  EXPECT_THAT(access->Admit(WithToken(kAlice), Role::kOperate, "PauseRun"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("PauseRun takes the role operate"), HasSubstr("alice"),
                             HasSubstr("read, submit"))));
  EXPECT_THAT(access->Admit({}, Role::kRead, "GetRun"),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("--token-file")));
  EXPECT_THAT(access->Admit(WithToken(kBob), Role::kRead, "GetRun"),
              StatusIs(absl::StatusCode::kUnauthenticated, Not(HasSubstr(kBob))));
  EXPECT_THAT(access->Admit({absl::StrCat("Basic ", kAlice), {}, ""}, Role::kRead, "GetRun"),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("Bearer")));
  EXPECT_OK(access->Admit({absl::StrCat("bearer ", kAlice), {}, ""}, Role::kRead, "GetRun"));
}

TEST_F(AccessControlTest, ReadsAChangedFileAndKeepsTheOldOneWhenItCannot) {
  Write(FileFor("alice", kAlice, "read"));
  const auto access = Open();
  Write(FileFor("bob", kBob, "read"));
  EXPECT_OK(access->Admit(WithToken(kAlice), Role::kRead, "GetRun"));  // looked at a moment ago
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(access->Admit(WithToken(kAlice), Role::kRead, "GetRun"),
              StatusIs(absl::StatusCode::kUnauthenticated));  // withdrawn
  EXPECT_OK(access->Admit(WithToken(kBob), Role::kRead, "GetRun"));
  Write("tokens: oh\n");
  clock_.Advance(absl::Seconds(1));
  EXPECT_OK(access->Admit(WithToken(kBob), Role::kRead, "GetRun"));
  ASSERT_OK(env_.RemoveFile("/access"));
  clock_.Advance(absl::Seconds(1));
  EXPECT_OK(access->Admit(WithToken(kBob), Role::kRead, "GetRun"));
  Write(FileFor("alice", kAlice, "read"));
  clock_.Advance(absl::Seconds(1));
  EXPECT_OK(access->Admit(WithToken(kAlice), Role::kRead, "GetRun"));
  EXPECT_FALSE(access->Admit(WithToken(kBob), Role::kRead, "GetRun").ok());
}

TEST_F(AccessControlTest, KnowsCertificatesByTheirNames) {
  Write(FileFor("alice", kAlice, "read"));
  const auto access = Open({"/access", true});
  EXPECT_OK(access->Admit(WithCertificate("gpu7"), Role::kWorker, "Register"));
  EXPECT_THAT(access->Admit(WithCertificate("gpu7"), Role::kOperate, "PauseRun"),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(access->Admit(WithCertificate("gpu8"), Role::kWorker, "Register"),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("gpu8")));
  // A token goes before the certificate, also one that is not known.
  ASSERT_OK_AND_ASSIGN(const Caller both,
                       access->Identify({absl::StrCat("Bearer ", kAlice), {"gpu7"}, ""}));
  EXPECT_EQ(both.name, "alice");
  EXPECT_FALSE(access->Identify({absl::StrCat("Bearer ", kBob), {"gpu7"}, ""}).ok());
}

TEST_F(AccessControlTest, WithCertificatesAloneEveryVerifiedOneMayDoEverything) {
  const auto access = Open({"", true});
  ASSERT_OK_AND_ASSIGN(const Caller caller,
                       access->Admit(WithCertificate("gpu8"), Role::kOperate, "PauseRun"));
  EXPECT_EQ(caller.name, "gpu8");
  EXPECT_THAT(access->Admit({}, Role::kRead, "GetRun"),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("certificate")));
}

TEST_F(AccessControlTest, DoesNotBeginWithoutAFileThatItUnderstands) {
  EXPECT_THAT(AccessControl::Open(&env_, &clock_, {"/missing", false}).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/missing")));
  Write("tokens: oh\n");
  EXPECT_THAT(AccessControl::Open(&env_, &clock_, {"/access", false}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/access:1:")));
}

}  // namespace
}  // namespace tritter
