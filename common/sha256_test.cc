#include "common/sha256.h"

#include <gtest/gtest.h>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

// FIPS 180-4 examples.
TEST(Sha256, MatchesPublishedVectors) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheSameDigestAsTheWhole) {
  Sha256Hasher hasher;
  for (const char* piece : {"a", "", "bc"}) hasher.Update(piece);
  EXPECT_EQ(hasher.Finish(), Sha256("abc"));
}

TEST(Sha256, OfFileEqualsOfItsBytesAndSaysWhenThereIsNone) {
  MemoryEnv env;
  ASSERT_OK(WriteFileAtomically(&env, "/f", "abc"));
  ASSERT_OK_AND_ASSIGN(const std::string hex, Sha256HexOfFile(&env, "/f"));
  EXPECT_EQ(hex, Sha256Hex("abc"));
  EXPECT_THAT(Sha256HexOfFile(&env, "/g"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(DigestMod, ReadsTheDigestAsABigEndianInteger) {
  Sha256Digest digest{};
  digest[31] = 7;
  EXPECT_EQ(DigestMod(digest, 1000), 7u);
  digest[30] = 4;  // 4 * 256 + 7
  EXPECT_EQ(DigestMod(digest, 1000), 31u);
  digest = {};
  digest[0] = 1;  // 2^248 mod 1000, by repeated squaring
  uint32_t power = 1;
  for (int i = 0; i < 248; ++i) power = power * 2 % 1000;
  EXPECT_EQ(DigestMod(digest, 1000), power);
  digest.fill(0xff);
  EXPECT_LT(DigestMod(digest, 0xffffffffu), 0xffffffffu);
}

}  // namespace
}  // namespace tritter
