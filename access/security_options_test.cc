#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "access/client_security.h"
#include "access/server_security.h"
#include "access/testing/certificates.h"
#include "common/testing/fake_clock.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kToken[] = "a-token-that-is-long-enough";

ServerSecurity Security(bool tls, bool tokens) {
  ServerSecurity s;
  if (tls) s.tls_certificate = "/cert", s.tls_key = "/key";
  if (tokens) s.access_file = "/access";
  return s;
}

TEST(ServerSecurity, ListensBeyondLoopbackOnlyWithTlsAndKnownCallers) {
  const auto check = [](const ServerSecurity& s) {
    return CheckServiceAddress("--listen", "0.0.0.0:7070", s);
  };
  EXPECT_OK(CheckServiceAddress("--listen", "127.0.0.1:7070", Security(false, false)));
  EXPECT_THAT(check(Security(false, false)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--listen: 0.0.0.0:7070"), HasSubstr("--access-file"),
                             HasSubstr("--tls-cert"), HasSubstr("--insecure"))));
  EXPECT_THAT(check(Security(true, false)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tls-client-ca")));
  EXPECT_THAT(check(Security(false, true)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("unencrypted")));
  EXPECT_OK(check(Security(true, true)));
  ServerSecurity mutual = Security(true, false);
  mutual.tls_client_authority = "/ca";
  EXPECT_OK(check(mutual));
  ServerSecurity insecure;
  insecure.insecure = true;
  EXPECT_OK(check(insecure));
}

TEST(ServerSecurity, ShowsMonitoringToOthersOnlyWhenItIsSaid) {
  ServerSecurity s = Security(true, true);
  EXPECT_THAT(CheckMonitoringAddress("--metrics-listen", "0.0.0.0:9090", s),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--public-monitoring")));
  s.public_monitoring = true;
  EXPECT_OK(CheckMonitoringAddress("--metrics-listen", "0.0.0.0:9090", s));
  EXPECT_OK(CheckMonitoringAddress("--metrics-listen", "[::1]:9090", ServerSecurity()));
}

TEST(ServerSecurity, FlagsBelongTogether) {
  ServerSecurity s;
  s.tls_certificate = "/cert";
  EXPECT_THAT(CheckServerSecurity(s),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tls-key")));
  s = ServerSecurity();
  s.tls_client_authority = "/ca";
  EXPECT_THAT(CheckServerSecurity(s),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tls-client-ca")));
  EXPECT_OK(CheckServerSecurity(Security(true, true)));
}

TEST(TlsFiles, NamesTheFileAndWhatIsWrongWithIt) {
  MemoryEnv env;
  TestAuthority authority;
  const PemPair one = authority.Issue("one"), two = authority.Issue("two");
  for (const auto& [path, text] : {std::pair{"/one.crt", one.certificate},
                                   {"/one.key", one.key},
                                   {"/two.key", two.key},
                                   {"/ca", authority.pem()},
                                   {"/text", std::string("hello\n")}})
    ASSERT_OK(WriteFileAtomically(&env, path, text));
  const absl::Time now = absl::Now();
  EXPECT_OK(CheckTlsFiles(&env, {"/one.crt", "/one.key", "/ca"}, now));
  EXPECT_THAT(CheckTlsFiles(&env, {"/one.crt", "/two.key", ""}, now),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("/two.key"), HasSubstr("/one.crt"))));
  EXPECT_THAT(
      CheckTlsFiles(&env, {"/text", "/one.key", ""}, now),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/text: expected a certificate")));
  EXPECT_THAT(
      CheckTlsFiles(&env, {"/one.crt", "/text", ""}, now),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/text: expected a private key")));
  EXPECT_THAT(CheckTlsFiles(&env, {"", "", "/text"}, now),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/text")));
  EXPECT_THAT(CheckTlsFiles(&env, {"", "", "/missing"}, now),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/missing")));
  EXPECT_THAT(CheckTlsFiles(&env, {"/one.crt", "/one.key", ""}, now + absl::Hours(72)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has ended on")));
  EXPECT_THAT(CheckTlsFiles(&env, {"/one.crt", "/one.key", ""}, now - absl::Hours(72)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("begins only on")));
}

TEST(ClientSecurity, SendsATokenUnencryptedToLoopbackAlone) {
  ClientSecurity s;
  EXPECT_OK(CheckServerAddress("--coordinator", "gpu7:7070", s));  // it has no secret
  s.token = kToken;
  EXPECT_OK(CheckServerAddress("--coordinator", "127.0.0.1:7070", s));
  EXPECT_THAT(CheckServerAddress("--coordinator", "gpu7:7070", s),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--tls-ca"), Not(HasSubstr(kToken)))));
  s.tls_authority = kSystemAuthorities;
  EXPECT_OK(CheckServerAddress("--coordinator", "gpu7:7070", s));
}

TEST(ClientSecurity, ChecksItsFiles) {
  MemoryEnv env;
  const absl::Time now = absl::Now();
  ASSERT_OK(WriteFileAtomically(&env, "/token", absl::StrCat("  ", kToken, "\nsecond line\n")));
  ASSERT_OK(WriteFileAtomically(&env, "/short", "abc\n"));
  ClientSecurity s;
  s.token_file = "/token";
  EXPECT_OK(CheckClientSecurity(&env, s, now));
  s.token_file = "/short";
  EXPECT_THAT(CheckClientSecurity(&env, s, now),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("/short"), Not(HasSubstr("abc")))));
  s = ClientSecurity();
  s.tls_certificate = "/cert";
  s.tls_key = "/key";
  EXPECT_THAT(CheckClientSecurity(&env, s, now),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tls-ca")));
  s = ClientSecurity();
  s.tls_server_name = "gpu7";
  EXPECT_FALSE(CheckClientSecurity(&env, s, now).ok());
}

TEST(BearerToken, FollowsItsFileAndOutlivesIt) {
  MemoryEnv env;
  FakeClock clock;
  ASSERT_OK(WriteFileAtomically(&env, "/token", std::string(kToken) + "\n"));
  ClientSecurity s;
  s.token_file = "/token";
  BearerToken source(&env, &clock, s);
  EXPECT_EQ(source.Authorization(), absl::StrCat("Bearer ", kToken));
  ASSERT_OK(WriteFileAtomically(&env, "/token", "the-next-token-of-the-worker\n"));
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(source.Authorization(), "Bearer the-next-token-of-the-worker");
  ASSERT_OK(env.RemoveFile("/token"));
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(source.Authorization(), "Bearer the-next-token-of-the-worker");
}

}  // namespace
}  // namespace tritter
