#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/random.h"
#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kPath[] = "/t.safetensors";

absl::Span<const uint8_t> Bytes(const std::string& s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

std::string File(const std::string& json, const std::string& data) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(json.size() >> (8 * i));
  return text + json + data;
}

absl::Status OpenText(const std::string& text) {
  MemoryEnv env;
  EXPECT_OK(WriteFileAtomically(&env, kPath, text));
  return SafetensorsFile::Open(&env, kPath).status();
}

// As Python's safetensors writes it: compact JSON, __metadata__ first, spaces up to 8 bytes.
std::string Golden() {
  const std::string json =
      "{\"__metadata__\":{\"step\":\"7\"},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
      "\"b\":{\"dtype\":\"I8\",\"shape\":[3,1],\"data_offsets\":[8,11]}}       ";
  return std::string("\x90\0\0\0\0\0\0\0", 8) + json +
         std::string("\0\0\x80\x3f\0\0\0\xc0\x01\xff\x00", 11);
}

TEST(WriteSafetensors, WritesTheGoldenFileByteForByte) {
  MemoryEnv env;
  const float a[] = {1.0f, -2.0f};
  const int8_t b[] = {1, -1, 0};
  std::string a_bytes(8, 0), b_bytes(3, 0);
  std::memcpy(a_bytes.data(), a, 8);
  std::memcpy(b_bytes.data(), b, 3);
  const std::vector<TensorToWrite> tensors = {{"b", DType::kI8, {3, 1}, Bytes(b_bytes)},
                                              {"a", DType::kF32, {2}, Bytes(a_bytes)}};
  ASSERT_OK_AND_ASSIGN(const WrittenFile written,
                       WriteSafetensors(&env, kPath, tensors, {{"step", "7"}}));
  ASSERT_OK_AND_ASSIGN(const std::string text, env.ReadFile(kPath));
  EXPECT_EQ(text, Golden());
  EXPECT_EQ(written.bytes, text.size());
  EXPECT_EQ(written.sha256, Sha256Hex(text));
  EXPECT_EQ((text.size() - 11) % 8, 0u);  // data begins aligned
}

TEST(SafetensorsFile, ReadsTheGoldenFile) {
  MemoryEnv env;
  ASSERT_OK(WriteFileAtomically(&env, kPath, Golden()));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(&env, kPath));
  EXPECT_THAT(file->names(), ElementsAre("a", "b"));
  EXPECT_EQ(file->metadata().at("step"), "7");
  ASSERT_OK_AND_ASSIGN(const TensorView a, file->Get("a"));
  EXPECT_EQ(a.dtype, DType::kF32);
  EXPECT_THAT(a.shape, ElementsAre(2));
  float values[2];
  std::memcpy(values, a.bytes.data(), a.bytes.size());
  EXPECT_THAT(values, ElementsAre(1.0f, -2.0f));
  ASSERT_OK_AND_ASSIGN(const TensorView b, file->Get("b"));
  EXPECT_THAT(b.shape, ElementsAre(3, 1));
  EXPECT_THAT(b.bytes, ElementsAre(1, 255, 0));
  EXPECT_THAT(file->Get("c"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/t.safetensors: no tensor")));
}

TEST(Safetensors, RoundTripsEveryTypeScalarsEmptyTensorsAndOddNames) {
  MemoryEnv env;
  Philox random(3);
  const DType kTypes[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                          DType::kI32, DType::kI16, DType::kI8,  DType::kU8,   DType::kBool};
  std::vector<std::string> data;
  std::vector<TensorToWrite> tensors;
  data.reserve(100);
  const std::vector<std::vector<int64_t>> kShapes = {{}, {0}, {5}, {2, 3}, {0, 7}, {1, 2, 1, 3}};
  for (const DType type : kTypes) {
    for (const std::vector<int64_t>& shape : kShapes) {
      int64_t n = DTypeBytes(type);
      for (const int64_t d : shape) n *= d;
      std::string bytes;
      for (int64_t i = 0; i < n; ++i) bytes += static_cast<char>(random.Below(256));
      data.push_back(bytes);
      tensors.push_back({absl::StrCat(DTypeName(type), "/\"größe\\\n", tensors.size()), type, shape,
                         Bytes(data.back())});
    }
  }
  ASSERT_OK(WriteSafetensors(&env, kPath, tensors, {{"quote\"", "line\nbreak"}}));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(&env, kPath));
  EXPECT_EQ(file->names().size(), tensors.size());
  EXPECT_EQ(file->metadata().at("quote\""), "line\nbreak");
  for (const TensorToWrite& t : tensors) {
    ASSERT_OK_AND_ASSIGN(const TensorView view, file->Get(t.name));
    EXPECT_EQ(view.dtype, t.dtype);
    EXPECT_EQ(view.shape, t.shape);
    EXPECT_EQ(view.bytes, t.bytes) << t.name;
  }
}

TEST(Safetensors, AFileWithoutTensorsIsValid) {
  MemoryEnv env;
  ASSERT_OK(WriteSafetensors(&env, kPath, {}, {}));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(&env, kPath));
  EXPECT_TRUE(file->names().empty());
}

TEST(SafetensorsFile, RefusesWhatIsMalformed) {
  const std::string d8(8, 'x');
  const auto one = [](const std::string& value) { return "{\"a\":" + value + "}"; };
  const std::string good = "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}";
  struct Case {
    std::string text, message;
  };
  const std::vector<Case> kCases = {
      {"", "the file has 0 bytes, expected at least 8"},
      {"1234567", "the file has 7 bytes"},
      {std::string("\x01\xe1\xf5\x05\0\0\0\0", 8),
       "says 100000001 bytes, expected at most 100000000"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8), "says 18446744073709551615 bytes"},
      {File(one(good), d8).substr(0, 20), "(truncated)"},
      {File("", ""), "does not begin with `{`"},
      {File(" {}", ""), "does not begin with `{`"},
      {File("[]", ""), "does not begin with `{`"},
      {File("{", ""), "at byte 2 of the header"},
      {File("{}x", ""), "at byte 3 of the header"},
      {File("{\"a\":1}", ""), "tensor `a`: expected an object, got the number 1"},
      {File("{\"a\":null}", ""), "got null"},
      {File("{\"a\":[]}", ""), "got a list"},
      {File(one("{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}"), d8),
       "expected dtype as a string, got the number 5"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}"), d8),
       "got the number -2"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}"), d8),
       "got the number 2.0"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]}"), d8), "got a list"},
      {File(one("{\"dtype\":\"F32\",\"shape\":\"2\",\"data_offsets\":[0,8]}"), d8),
       "expected shape as a list, got a string"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}"), d8),
       "data_offsets has 1 numbers, expected 2"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}"), d8),
       "expected two offsets"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,99999999999999999999999]}"),
            d8),
       "expected two offsets"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[2]}"), d8), "`data_offsets` is missing"},
      {File(one("{\"shape\":[2],\"data_offsets\":[0,8]}"), d8), "`dtype` is missing"},
      {File(one("{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"), d8),
       "duplicate key `dtype`"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}"), d8),
       "unknown key `x`"},
      {File("{\"a\":" + good + ",\"a\":" + good + "}", d8), "duplicate name `a`"},
      {File("{\"__metadata__\":{},\"__metadata__\":{}}", ""), "duplicate name `__metadata__`"},
      {File("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", ""), "duplicate key `k`"},
      {File("{\"__metadata__\":{\"k\":1}}", ""), "expected a string, got the number 1"},
      {File("{\"__metadata__\":[]}", ""), "expected an object, got a list"},
      {File("{\"\xff\":" + good + "}", d8), "invalid string: ill-formed UTF-8 byte"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}"), d8),
       "run backwards, from 8 to 0"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,16]}"), d8),
       "end at 16, expected at most 8"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}"), d8),
       "hold 8 bytes, expected 12"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}"),
            d8),
       "shape overflows"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}"),
            ""),
       "shape overflows"},
      {File(one(good), d8 + "y"), "trailing bytes"},
      {File(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}"), d8),
       "begins at 4, expected 0 (a gap"},
      {File("{\"a\":" + good + ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
            d8),
       "tensor `b`: begins at 4, expected 8 (overlaps"},
      {File("{\"a\":" + good + ",\"b\":" + good + "}", d8),
       "tensor `b`: begins at 0, expected 8 (overlaps"},
  };
  for (const Case& c : kCases) {
    EXPECT_THAT(OpenText(c.text), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(c.message)))
        << c.text;
    EXPECT_THAT(std::string(OpenText(c.text).message()), HasSubstr(kPath));
  }
  EXPECT_THAT(
      OpenText(File(one("{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}"), d8)),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("dtype `F8_E4M3` is not supported")));
  EXPECT_OK(OpenText(File(one(good), d8)));
}

TEST(SafetensorsFile, RefusesDeepNestingWithoutDescending) {
  std::string json = "{\"a\":";
  json += std::string(1 << 20, '[');
  EXPECT_THAT(OpenText(File(json, "")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("got a list")));
}

// Any input gives a status; what opens is whole.
void CheckNeverCrashes(const std::string& text) {
  MemoryEnv env;
  ASSERT_OK(WriteFileAtomically(&env, kPath, text));
  const auto file = SafetensorsFile::Open(&env, kPath);
  if (!file.ok()) return;
  uint64_t bytes = 0, sum = 0;
  for (const std::string& name : (*file)->names()) {
    ASSERT_OK_AND_ASSIGN(const TensorView view, (*file)->Get(name));
    bytes += view.bytes.size();
    for (const uint8_t b : view.bytes) sum += b;  // every byte can be read
  }
  EXPECT_LT(bytes, text.size());
  EXPECT_LE(sum, text.size() * 255);
}

TEST(SafetensorsFile, AnyMutationGivesAStatus) {
  const std::string golden = Golden();
  Philox random(20);
  const char* kTokens[] = {"{",
                           "}",
                           "[",
                           "]",
                           ":",
                           ",",
                           "\"",
                           "null",
                           "-1",
                           "1e99",
                           "18446744073709551616",
                           "\"shape\"",
                           "\"dtype\"",
                           "\"F64\"",
                           "\\u0000",
                           "\xff",
                           "0",
                           "11",
                           "true"};
  for (int i = 0; i < 20000; ++i) {
    std::string text = golden;
    for (uint64_t changes = 1 + random.Below(3); changes > 0; --changes) {
      const size_t at = random.Below(text.size());
      switch (random.Below(5)) {
        case 0:
          text[at] ^= static_cast<char>(1 << random.Below(8));
          break;
        case 1:
          text[at] = static_cast<char>(random.Below(256));
          break;
        case 2:
          text.resize(at + 1);
          break;
        case 3:
          text.insert(at, kTokens[random.Below(std::size(kTokens))]);
          break;
        default:
          text.erase(at, 1 + random.Below(4));
          break;
      }
      if (text.empty()) text = "x";
    }
    if (text.size() > 8 &&
        random.Below(2) == 0) {  // keep the length right, so that the JSON is reached
      for (int k = 0; k < 8; ++k)
        text[k] = static_cast<char>((text.size() - 8 - random.Below(2) * 11) >> (8 * k));
    }
    CheckNeverCrashes(text);
  }
}

TEST(WriteSafetensors, RefusesWhatItCouldNotReadBack) {
  MemoryEnv env;
  const std::string d(8, 'x');
  const auto write = [&](std::vector<TensorToWrite> tensors,
                         std::map<std::string, std::string> metadata = {}) {
    return WriteSafetensors(&env, kPath, tensors, metadata).status();
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(write({{"a", DType::kF32, {3}, Bytes(d)}}),
              StatusIs(invalid, HasSubstr("8 bytes given, expected 12")));
  EXPECT_THAT(write({{"a", DType::kF32, {-2}, Bytes(d)}}),
              StatusIs(invalid, HasSubstr("8 bytes given")));
  EXPECT_THAT(write({{"", DType::kF32, {2}, Bytes(d)}}),
              StatusIs(invalid, HasSubstr("cannot be the name")));
  EXPECT_THAT(write({{"\xff", DType::kF32, {2}, Bytes(d)}}),
              StatusIs(invalid, HasSubstr("cannot be the name")));
  EXPECT_THAT(write({{"__metadata__", DType::kF32, {2}, Bytes(d)}}),
              StatusIs(invalid, HasSubstr("cannot be the name")));
  EXPECT_THAT(write({{"a", DType::kF32, {2}, Bytes(d)}, {"a", DType::kF32, {2}, Bytes(d)}}),
              StatusIs(invalid, HasSubstr("duplicate name `a`")));
  EXPECT_THAT(write({}, {{"k", "\xff"}}),
              StatusIs(invalid, HasSubstr("metadata `k` is not UTF-8")));
  EXPECT_FALSE(env.Exists(kPath));
}

TEST(WriteSafetensors, EveryFailedChangeIsReported) {
  const std::string d(8, 'x');
  const std::vector<TensorToWrite> tensors = {{"a", DType::kF32, {2}, Bytes(d)}};
  MemoryEnv memory;
  FaultEnv env(&memory);
  ASSERT_OK(WriteSafetensors(&env, kPath, tensors, {}));
  const int64_t changes = env.changes();
  EXPECT_GE(changes, 4);  // create, header, data, sync
  for (int64_t n = 1; n <= changes; ++n) {
    env.Heal();
    env.FailAt(n, absl::ResourceExhaustedError("disk full"), n % 2 == 0);
    EXPECT_THAT(WriteSafetensors(&env, kPath, tensors, {}),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")))
        << n;
  }
}

}  // namespace
}  // namespace tritter
