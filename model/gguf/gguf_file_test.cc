#include "model/gguf/gguf_file.h"

#include <cstring>
#include <limits>

#include "common/random.h"
#include "common/sha256.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "model/gguf/gguf_writer.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

// Bytes of a file by hand: what a writer of ours would never write.
class Raw {
 public:
  Raw& U32(uint32_t v) { return Little(v, 4); }
  Raw& U64(uint64_t v) { return Little(v, 8); }
  Raw& Bytes(absl::string_view bytes) {
    bytes_.append(bytes.data(), bytes.size());
    return *this;
  }
  Raw& String(absl::string_view text) { return U64(text.size()).Bytes(text); }
  Raw& Head(uint64_t tensors, uint64_t entries) {
    return Bytes("GGUF").U32(3).U64(tensors).U64(entries);
  }
  // An F32 tensor of 8 values.
  Raw& Tensor(absl::string_view name, uint64_t offset) {
    return String(name).U32(1).U64(8).U32(0).U64(offset);
  }
  Raw& Data(size_t bytes) {
    bytes_.append((32 - bytes_.size() % 32) % 32 + bytes, '\0');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  Raw& Little(uint64_t v, int n) {
    for (int i = 0; i < n; ++i) bytes_.push_back(static_cast<char>(v >> (8 * i)));
    return *this;
  }
  std::string bytes_;
};

class GgufFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& bytes) {
    EXPECT_OK(WriteFileAtomically(&env_, "/m.gguf", bytes));
    return GgufFile::Open(&env_, "/m.gguf");
  }
  void ExpectBad(const Raw& raw, const std::string& message,
                 absl::StatusCode code = absl::StatusCode::kDataLoss) {
    EXPECT_THAT(Open(raw.bytes()),
                StatusIs(code, AllOf(HasSubstr("/m.gguf: offset "), HasSubstr(message),
                                     HasSubstr("expected"))));
  }
  MemoryEnv env_;
};

struct Written {
  GgufTensorToWrite tensor;
  std::string bytes;
};

Written RandomTensor(int number, Philox* random) {
  constexpr GgufType kTypes[] = {GgufType::kF32,  GgufType::kF16,   GgufType::kBF16,
                                 GgufType::kQ8_0, GgufType::kTQ1_0, GgufType::kTQ2_0};
  Written out;
  out.tensor.name = "tensor." + std::to_string(number);
  out.tensor.type = kTypes[random->Below(6)];
  int64_t values = 1;
  for (uint64_t d = random->Below(3); d-- > 0;) {
    out.tensor.shape.push_back(1 + static_cast<int64_t>(random->Below(5)));
    values *= out.tensor.shape.back();
  }
  out.tensor.shape.push_back(InfoOf(out.tensor.type).block_values *
                             (1 + static_cast<int64_t>(random->Below(4))));
  values *= out.tensor.shape.back();
  out.bytes.resize(static_cast<size_t>(GgufBytes(out.tensor.type, values)));
  for (char& byte : out.bytes) byte = static_cast<char>(random->Below(256));
  out.tensor.write = [bytes = out.bytes](const GgufAppend& append) {
    const absl::string_view view = bytes;
    const absl::Status first = append(view.substr(0, 2));
    return first.ok() ? append(view.substr(2)) : first;
  };
  return out;
}

TEST_F(GgufFileTest, WhatIsWrittenIsRead) {
  Philox random(1);
  for (int repeat = 0; repeat < 100; ++repeat) {
    GgufMetadata metadata;
    metadata.U32("a.u32", 7);
    metadata.I64("a.i64", -5);
    metadata.F32("a.f32", 0.1f);
    metadata.Bool("a.bool", true);
    metadata.Text("a.text", "ganz ähnlich");
    metadata.Texts("a.texts", {"", "x", "yy"});
    metadata.I32s("a.i32s", {1, -2});
    metadata.Texts("a.none", {});
    std::vector<Written> written;
    std::vector<GgufTensorToWrite> tensors;
    for (int i = static_cast<int>(random.Below(8)); i-- > 0;) {
      written.push_back(RandomTensor(i, &random));
      tensors.push_back(written.back().tensor);
    }
    ASSERT_OK_AND_ASSIGN(const WrittenGguf result,
                         WriteGguf(&env_, "/out.gguf", metadata, tensors));
    EXPECT_EQ(result.sha256, Sha256Hex(*env_.ReadFile("/out.gguf")));
    EXPECT_EQ(result.bytes, *env_.FileSize("/out.gguf"));
    ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(&env_, "/out.gguf"));
    EXPECT_EQ(*file->Integer("a.u32"), 7);
    EXPECT_EQ(*file->Integer("a.i64"), -5);
    EXPECT_EQ(*file->Number("a.f32"), 0.1f);
    EXPECT_EQ(*file->Number("a.u32"), 7);
    EXPECT_EQ(*file->Text("a.text"), "ganz ähnlich");
    EXPECT_EQ(*file->Texts("a.texts"), (std::vector<std::string>{"", "x", "yy"}));
    EXPECT_TRUE(file->Texts("a.none")->empty());
    EXPECT_EQ(file->metadata().at("a.i32s").count, 2u);
    ASSERT_EQ(file->tensors().size(), written.size());
    for (size_t i = 0; i < written.size(); ++i) {
      const GgufTensor& tensor = file->tensors()[i];
      EXPECT_EQ(tensor.name, written[i].tensor.name);
      EXPECT_EQ(tensor.shape, written[i].tensor.shape);
      EXPECT_EQ(tensor.type, written[i].tensor.type);
      EXPECT_EQ(std::string(tensor.bytes.begin(), tensor.bytes.end()), written[i].bytes);
      EXPECT_EQ(tensor.offset % 32, 0u);
      EXPECT_EQ(file->Find(tensor.name), &tensor);
    }
    EXPECT_EQ(file->Find("none"), nullptr);
  }
}

TEST_F(GgufFileTest, AHandWrittenFileIsRead) {
  Raw raw;
  raw.Head(2, 2).String("general.alignment").U32(4).U32(64);
  raw.String("x").U32(9).U32(5).U64(2).U32(1).U32(2);
  raw.String("m").U32(2).U64(4).U64(2).U32(0).U64(0).String("v").U32(1).U64(8).U32(0).U64(64);
  std::string bytes = raw.bytes();
  bytes.append((64 - bytes.size() % 64) % 64, '\0');
  bytes.append(64 + 32, '\x01');  // the last tensor's padding left out
  ASSERT_OK_AND_ASSIGN(const auto file, Open(bytes));
  EXPECT_EQ(file->Find("m")->shape, (std::vector<int64_t>{2, 4})) << "rows first";
  EXPECT_EQ(file->Find("v")->bytes.size(), 32u);
}

TEST_F(GgufFileTest, EveryLengthBelowTheWholeIsRefused) {
  Raw raw;
  raw.Head(2, 1).String("key").U32(8).String("value").Tensor("a", 0).Tensor("b", 32).Data(64);
  ASSERT_OK(Open(raw.bytes()));
  for (size_t size = 0; size < raw.bytes().size(); ++size) {
    ASSERT_THAT(Open(raw.bytes().substr(0, size)),
                StatusIs(kDataLoss, HasSubstr("/m.gguf: offset ")))
        << size;
  }
  EXPECT_THAT(Open(raw.bytes() + "x"), StatusIs(kDataLoss, HasSubstr("end of the file")));
}

TEST_F(GgufFileTest, SaysWhereItIsDamaged) {
  const uint64_t huge = std::numeric_limits<uint64_t>::max();
  ExpectBad(Raw().Bytes("GGML").U32(3).U64(0).U64(0), "magic");
  ExpectBad(Raw().Bytes("GGUF").U32(2).U64(0).U64(0), "GGUF version 2", kUnimplemented);
  ExpectBad(Raw().Bytes("GGUF").U32(3u << 24).U64(0).U64(0), "big-endian", kUnimplemented);
  ExpectBad(Raw().Head(huge, 0), "tensor count: expected at most 0");
  ExpectBad(Raw().Head(0, huge), "metadata count: expected at most 0");
  ExpectBad(Raw().Head(0, 1).U64(huge).Bytes("key and more"), "length of metadata key");
  ExpectBad(Raw().Head(0, 1).String("").Bytes("xxxxxxxxxxxxxxx"), "metadata key");
  ExpectBad(Raw().Head(0, 1).String("\xFF").U32(0).Bytes("xxxxx"), "a name in UTF-8");
  ExpectBad(Raw().Head(0, 2).String("k").U32(0).Bytes("x").String("k").U32(0).Bytes("x"),
            "k a second time");
  ExpectBad(Raw().Head(0, 1).String("k").U32(13).U64(0), "type of k: expected 0 to 12, found 13");
  ExpectBad(Raw().Head(0, 1).String("k").U32(9).U32(9).U64(0), "no array of arrays");
  ExpectBad(Raw().Head(0, 1).String("k").U32(9).U32(4).U64(huge), "length of k");
  ExpectBad(Raw().Head(0, 1).String("k").U32(9).U32(8).U64(2).U64(0).U64(9), "string of k");
  ExpectBad(Raw().Head(0, 1).String("k").U32(8).U64(huge), "string of k");
  for (const uint32_t alignment : {0, 4, 48, 1 << 21})
    ExpectBad(Raw().Head(0, 1).String("general.alignment").U32(4).U32(alignment), "a power of two");
  ExpectBad(Raw().Head(2, 0).Tensor("a", 0).Tensor("a", 32).Data(64), "a a second time");
  ExpectBad(Raw().Head(1, 0).String("a").U32(0).U64(8).U64(0).U64(0), "rank of a");
  ExpectBad(Raw().Head(1, 0).String("a").U32(5).U64(8).U64(0).U64(0), "rank of a");
  ExpectBad(Raw().Head(1, 0).String("a").U32(1).U64(0).U32(0).U64(0), "dimension of a");
  ExpectBad(
      Raw().Head(1, 0).String("a").U32(2).U64(uint64_t{1} << 33).U64(uint64_t{1} << 33).U64(0),
      "dimension of a");
  ExpectBad(Raw().Head(1, 0).String("a").U32(1).U64(256).U32(12).U64(0), "is of type 12",
            kUnimplemented);
  ExpectBad(Raw().Head(1, 0).String("a").U32(1).U64(128).U32(35).U64(0).Data(66),
            "row of a: expected a multiple of 256 for TQ2_0, found 128");
  ExpectBad(Raw().Head(2, 0).Tensor("a", 0).Tensor("b", 0).Data(64), "offset of b: expected 32");
  ExpectBad(Raw().Head(2, 0).Tensor("a", 0).Tensor("b", 64).Data(96), "offset of b: expected 32");
  ExpectBad(Raw().Head(1, 0).Tensor("a", huge).Data(32), "offset of a: expected 0");
  ExpectBad(Raw().Head(1, 0).String("a").U32(1).U64(uint64_t{1} << 40).U32(0).U64(0).Data(64),
            "data of a");
}

TEST_F(GgufFileTest, AValueOfAnotherTypeIsNamed) {
  Raw raw;
  raw.Head(0, 3).String("text").U32(8).String("x").String("big").U32(10).U64(~uint64_t{0});
  raw.String("number").U32(6).U32(0);
  ASSERT_OK_AND_ASSIGN(const auto file, Open(raw.bytes()));
  EXPECT_THAT(file->Integer("text"),
              StatusIs(kDataLoss, HasSubstr("`text` is string, expected a whole number")));
  EXPECT_THAT(file->Integer("big"), StatusIs(kDataLoss));
  EXPECT_THAT(file->Integer("number"), StatusIs(kDataLoss, HasSubstr("`number` is float32")));
  EXPECT_THAT(file->Text("number"), StatusIs(kDataLoss, HasSubstr("expected a string")));
  EXPECT_THAT(file->Texts("text"), StatusIs(kDataLoss, HasSubstr("expected an array of strings")));
  EXPECT_THAT(file->Number("none"), StatusIs(kDataLoss, HasSubstr("`none` is missing")));
}

TEST_F(GgufFileTest, AWriterThatGivesTooLittleOrHasBrokenRowsIsRefused) {
  GgufTensorToWrite tensor{
      "t", {2, 32}, GgufType::kQ8_0, [](const GgufAppend& append) { return append("short"); }};
  EXPECT_THAT(WriteGguf(&env_, "/o.gguf", {}, {tensor}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("gave 5 bytes, expected 68")));
  tensor.shape = {2, 33};
  EXPECT_THAT(WriteGguf(&env_, "/o.gguf", {}, {tensor}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a multiple of 32")));
}

}  // namespace
}  // namespace tritter
