#include "access/access_file.h"

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kToken[] = "correct-horse-battery-staple";

TEST(AccessFile, ReadsTokensAndCertificatesWithTheirRoles) {
  const std::string text =
      absl::StrCat("tokens:\n  - {name: alice, roles: [submit], sha256: ", Sha256Hex(kToken),
                   "}\n  - {name: trainer, roles: [worker], token: "
                   "another-token-of-the-trainer}\n"
                   "certificates:\n  - {name: gpu7, roles: [operate, infer]}\n");
  ASSERT_OK_AND_ASSIGN(const AccessList list, ParseAccessFile(text, "access.yaml"));
  ASSERT_EQ(list.tokens.size(), 2u);
  EXPECT_THAT(list.tokens[0].roles.Names(), ElementsAre("read", "submit"));  // submit reads too
  EXPECT_THAT(list.tokens[1].roles.Names(), ElementsAre("worker"));
  ASSERT_EQ(list.certificates.size(), 1u);
  EXPECT_THAT(list.certificates[0].roles.Names(), ElementsAre("read", "operate", "infer"));
  ASSERT_NE(FindToken(list, kToken), nullptr);
  EXPECT_EQ(FindToken(list, kToken)->name, "alice");
  EXPECT_EQ(FindToken(list, "another-token-of-the-trainer")->name, "trainer");
  EXPECT_EQ(FindToken(list, "another-token-of-the-traine"), nullptr);
  EXPECT_EQ(FindToken(list, Sha256Hex(kToken)), nullptr);  // the hash is no token
  EXPECT_EQ(FindToken(list, ""), nullptr);
}

struct Refused {
  const char* text;
  const char* why;
};

TEST(AccessFile, RefusesWhatItDoesNotUnderstandWithItsPlace) {
  for (const Refused& c : {
           Refused{"tokens: []\n", "nobody may do anything"},
           Refused{"tokens:\n - {roles: [read], token: correct-horse-battery-staple}\n", "name"},
           Refused{"tokens:\n - {name: a, roles: [raed], token: correct-horse-battery-staple}\n",
                   "did you mean read?"},
           Refused{"tokens:\n - {name: a, roles: [], token: correct-horse-battery-staple}\n",
                   "at least one role"},
           Refused{"tokens:\n - {name: a, roles: [read]}\n", "either sha256 or token"},
           Refused{"tokens:\n - {name: a, roles: [read], sha256: 12ab}\n", "64 hexadecimal digits"},
           Refused{"tokens:\n - {name: a, roles: [read], tokn: x}\n", "did you mean `token`"},
           Refused{"tokens:\n - {name: a, roles: [read], token: correct-horse-battery-staple}\n"
                   " - {name: b, roles: [read], token: correct-horse-battery-staple}\n",
                   "a.yaml:3:"},
           Refused{"certificates:\n - {name: a, roles: [read]}\n - {name: a, roles: [infer]}\n",
                   "same certificate"},
       }) {
    EXPECT_THAT(
        ParseAccessFile(c.text, "a.yaml"),
        StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("a.yaml"), HasSubstr(c.why))))
        << c.text;
  }
}

TEST(AccessFile, NoErrorShowsAToken) {
  for (const char* secret :
       {"12345678901234567890", "true", "short-secret", "with blank secret 123"}) {
    for (const char* key : {"token", "sha256"}) {
      const std::string text =
          absl::StrCat("tokens:\n  - {name: a, roles: [read], ", key, ": ", secret, "}\n");
      EXPECT_THAT(
          ParseAccessFile(text, "a.yaml"),
          StatusIs(absl::StatusCode::kInvalidArgument,
                   AllOf(HasSubstr(absl::StrCat("tokens[0].", key)), Not(HasSubstr(secret)))))
          << text;
    }
  }
}

}  // namespace
}  // namespace tritter
