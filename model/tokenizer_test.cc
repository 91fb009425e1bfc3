#include "model/tokenizer.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "common/random.h"
#include "model/utf8.h"

namespace tritter {
namespace {

std::string RandomBytes(Philox* random, size_t size) {
  // Half of the bytes come from the ranges that make up multi-byte sequences, so that whole, broken
  // and cut ones are common.
  static constexpr uint8_t kTelling[] = {0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1,
                                         0xC2, 0xDF, 0xE0, 0xE2, 0xED, 0xEF, 0xF0,
                                         0xF3, 0xF4, 0xF5, 0xFF, 'a',  0x00};
  std::string text;
  for (size_t i = 0; i < size; ++i) {
    const uint64_t r = random->Next64();
    text += static_cast<char>(r & 1 ? kTelling[(r >> 8) % sizeof(kTelling)] : (r >> 8) & 0xFF);
  }
  return text;
}

std::string Stream(const std::vector<int32_t>& ids, bool* always_whole) {
  StreamingDecoder decoder(&ByteTokenizer());
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = decoder.Push(id);
    if (!IsValidUtf8(piece)) *always_whole = false;
    text += piece;
  }
  return text + decoder.Finish();
}

TEST(ByteTokenizer, IsLosslessForAnyBytes) {
  const Tokenizer& tokenizer = ByteTokenizer();
  Philox random(1);
  for (int i = 0; i < 500; ++i) {
    const std::string text = RandomBytes(&random, random.Below(200));
    EXPECT_EQ(tokenizer.Decode(*tokenizer.Encode(text)), text);
  }
}

TEST(ByteTokenizer, GivesEveryByteItsId) {
  const Tokenizer& tokenizer = ByteTokenizer();
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    EXPECT_EQ(*tokenizer.Encode(absl::string_view(&c, 1)), std::vector<int32_t>{8 + b});
  }
  EXPECT_EQ(tokenizer.vocabulary(), 264);
}

TEST(ByteTokenizer, SpecialAndForeignIdsGiveNothing) {
  const std::vector<int32_t> ids = {kPadId, kBosId, 8 + 'h', kEosId, kUnkId, 4, 5,
                                    6,      7,      8 + 'i', 264,    70000,  -1};
  EXPECT_EQ(ByteTokenizer().Decode(ids), "hi");
}

TEST(ByteTokenizer, HashIsStable) {
  EXPECT_EQ(ByteTokenizer().hash(),
            "e10bc756206f70e655f178071f483310bd7a3991e63c7fee7083d2a021641fff");
}

TEST(ByteTokenizer, NamesItsSpecialTokens) {
  const Tokenizer& tokenizer = ByteTokenizer();
  EXPECT_EQ(tokenizer.bos_id(), kBosId);
  EXPECT_EQ(tokenizer.end_ids(), std::vector<int32_t>{kEosId});
  for (int32_t id = -1; id <= kByteVocabulary; ++id) {
    EXPECT_EQ(tokenizer.IsEnd(id), id == kEosId) << id;
    const std::string text = tokenizer.SpecialText(id);
    EXPECT_EQ(text.empty(), id < 0 || id >= kFirstByteId) << id;
    if (!text.empty()) EXPECT_EQ(tokenizer.SpecialId(text), id);
  }
  EXPECT_EQ(tokenizer.SpecialText(kEosId), "<eos>");
  EXPECT_EQ(tokenizer.SpecialId("<|endoftext|>"), std::nullopt);
  EXPECT_EQ(tokenizer.SpecialId(""), std::nullopt);
}

TEST(ByteTokenizer, SpecialTokensSpelledOutAreText) {
  const std::vector<int32_t> eos = {8 + '<', 8 + 'e', 8 + 'o', 8 + 's', 8 + '>'};
  EXPECT_EQ(*ByteTokenizer().Encode("<eos>"), eos);
  EXPECT_EQ(*ByteTokenizer().EncodePlain("<eos>"), eos);
}

TEST(ByteTokenizer, APromptBeginsWithBos) {
  EXPECT_EQ(*ByteTokenizer().EncodePrompt("a"), (std::vector<int32_t>{kBosId, 8 + 'a'}));
  EXPECT_EQ(*ByteTokenizer().EncodePrompt(""), std::vector<int32_t>{kBosId});
}

TEST(ByteTokenizer, GivesTheBytesOfAToken) {
  EXPECT_EQ(ByteTokenizer().TokenBytes(8 + 0xE2), "\xE2");
  EXPECT_EQ(ByteTokenizer().TokenBytes(kEosId), "");
  EXPECT_EQ(ByteTokenizer().TokenBytes(kByteVocabulary), "");
}

TEST(StreamingDecoder, HoldsBytesBackUntilTheSequenceIsWhole) {
  StreamingDecoder decoder(&ByteTokenizer());
  const std::string euro = "€";  // E2 82 AC
  EXPECT_EQ(decoder.Push(8 + 0xE2), "");
  EXPECT_EQ(decoder.Push(kEosId), "");
  EXPECT_EQ(decoder.Push(8 + 0x82), "");
  EXPECT_EQ(decoder.Push(8 + 0xAC), euro);
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamingDecoder, ReplacesWhatCanNeverBecomeWhole) {
  StreamingDecoder decoder(&ByteTokenizer());
  EXPECT_EQ(decoder.Push(8 + 0xFF), "\uFFFD");
  EXPECT_EQ(decoder.Push(8 + 0xE2), "");
  EXPECT_EQ(decoder.Push(8 + 'a'), "\uFFFDa");
  EXPECT_EQ(decoder.Push(8 + 0xF0), "");
  EXPECT_EQ(decoder.Push(8 + 0x9F), "");
  EXPECT_EQ(decoder.Finish(), "\uFFFD");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamingDecoder, NeverGivesHalfASequence) {
  Philox random(7);
  for (int i = 0; i < 3000; ++i) {
    const std::string bytes = RandomBytes(&random, random.Below(40));
    bool whole = true;
    const std::string text = Stream(*ByteTokenizer().Encode(bytes), &whole);
    EXPECT_TRUE(whole);
    EXPECT_TRUE(IsValidUtf8(text));
    if (IsValidUtf8(bytes)) EXPECT_EQ(text, bytes);
  }
}

TEST(StreamingDecoder, GivesEveryScalarValueUnchanged) {
  for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 61) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    if (c < 0x80) {
      text = {static_cast<char>(c)};
    } else if (c < 0x800) {
      text = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      text = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | ((c >> 6) & 63)),
              static_cast<char>(0x80 | (c & 63))};
    } else {
      text = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | ((c >> 12) & 63)),
              static_cast<char>(0x80 | ((c >> 6) & 63)), static_cast<char>(0x80 | (c & 63))};
    }
    bool whole = true;
    EXPECT_EQ(Stream(*ByteTokenizer().Encode(text), &whole), text) << c;
    EXPECT_TRUE(whole);
  }
}

TEST(IsValidUtf8, RefusesOverlongSurrogateAndTooLarge) {
  for (const char* bad :
       {"\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xE2\x82", "\xFE"}) {
    EXPECT_FALSE(IsValidUtf8(bad)) << bad;
  }
  EXPECT_TRUE(IsValidUtf8("plain, größe, €, 🙂"));
}

}  // namespace
}  // namespace tritter
