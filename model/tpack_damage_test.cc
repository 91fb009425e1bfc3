// Whatever happens to the bytes of a .tpack, reading it gives a status and never a wrong tensor.
#include <cstring>
#include <string>

#include "common/random.h"
#include "common/sha256.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "model/crc32c.h"
#include "model/testing/tpack_test_model.h"
#include "model/tpack.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

class TpackDamage : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(WriteRandomTpack(&env_, "/good", TinyModelConfig(), 1));
    ASSERT_OK_AND_ASSIGN(good_, env_.ReadFile("/good"));
    for (int i = 0; i < 8; ++i)
      header_end_ |= static_cast<uint64_t>(static_cast<uint8_t>(good_[16 + i])) << (8 * i);
    header_end_ += 64;
    ASSERT_GT(header_end_, 1000u);
    ASSERT_LT(header_end_, good_.size());
  }

  absl::StatusOr<std::unique_ptr<TpackFile>> Open(const std::string& bytes) {
    auto file = env_.NewWritableFile("/bad");
    EXPECT_OK(file);
    EXPECT_OK((*file)->Append(bytes));
    return TpackFile::Open(&env_, "/bad");
  }

  // The header's checksum made right again, as somebody who means harm would do.
  static void Sign(std::string* bytes, uint64_t header_end) {
    Sha256Hasher hasher;
    hasher.Update(bytes->data(), 32);
    hasher.Update(bytes->data() + 64, header_end - 64);
    const Sha256Digest digest = hasher.Finish();
    std::memcpy(bytes->data() + 32, digest.data(), digest.size());
  }

  MemoryEnv env_;
  std::string good_;
  uint64_t header_end_ = 0;
};

TEST_F(TpackDamage, EveryFlippedBitOfHeaderAndTableIsRefused) {
  std::string bytes = good_;
  for (uint64_t bit = 0; bit < header_end_ * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    ASSERT_THAT(Open(bytes), StatusIs(kDataLoss, AllOf(HasSubstr("/bad: offset "),
                                                       HasSubstr("expected"), HasSubstr("found"))))
        << "byte " << bit / 8 << " bit " << bit % 8;
    bytes[bit / 8] ^= static_cast<char>(1 << (bit % 8));
  }
  EXPECT_OK(Open(bytes));
}

TEST_F(TpackDamage, EveryLengthBelowTheWholeIsRefused) {
  for (size_t size = 0; size < good_.size(); size += size < header_end_ + 200 ? 1 : 97) {
    ASSERT_THAT(Open(good_.substr(0, size)), StatusIs(kDataLoss, HasSubstr("file length"))) << size;
  }
  EXPECT_THAT(Open(good_ + "x"), StatusIs(kDataLoss, HasSubstr("file length")));
}

// Past the header: Open succeeds, VerifyAll refuses, Get refuses exactly the tensor that was hit.
TEST_F(TpackDamage, FlippedBitsOfTensorsAreFoundByVerifyAndOnFirstGet) {
  std::string bytes = good_;
  for (uint64_t at = header_end_; at < good_.size(); at += 41) {
    const char flip = static_cast<char>(1 << (at % 8));
    bytes[at] ^= flip;
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> file, Open(bytes));
    EXPECT_THAT(file->VerifyAll(), StatusIs(kDataLoss, HasSubstr("/bad: offset "))) << at;
    int refused = 0;
    for (const std::string& name : file->names()) {
      const auto tensor = file->Get(name);
      if (tensor.ok()) continue;
      EXPECT_THAT(tensor, StatusIs(kDataLoss, HasSubstr(name)));
      EXPECT_THAT(file->Get(name), StatusIs(kDataLoss)) << "the second read must be refused too";
      ++refused;
    }
    EXPECT_LE(refused, 1) << at;  // 0: the byte is padding between tensors
    bytes[at] ^= flip;
  }
}

TEST_F(TpackDamage, RandomMutationsGiveAStatus) {
  Philox random(5);
  for (int i = 0; i < 1000; ++i) {
    std::string bytes = good_;
    const int edits = 1 + static_cast<int>(random.Below(8));
    for (int e = 0; e < edits; ++e) {
      const uint64_t limit =
          random.Below(2) == 0 ? std::min<uint64_t>(header_end_, bytes.size()) : bytes.size();
      if (limit == 0) break;
      const uint64_t at = random.Below(limit);
      switch (random.Below(4)) {
        case 0:
          bytes[at] = static_cast<char>(random.Next32());
          break;
        case 1:
          bytes.erase(at, random.Below(100));
          break;
        case 2:
          bytes.insert(at, std::string(random.Below(100), static_cast<char>(random.Next32())));
          break;
        case 3:
          bytes.replace(at, std::min<uint64_t>(8, bytes.size() - at), std::string(8, '\xff'));
          break;
      }
    }
    const auto file = Open(bytes);
    if (!file.ok()) continue;
    for (const std::string& name : (*file)->names()) (*file)->Get(name).IgnoreError();
    if (bytes != good_) EXPECT_THAT((*file)->VerifyAll(), StatusIs(kDataLoss));
  }
}

// Behind the checksum, every field has its own check.
TEST_F(TpackDamage, FlippedBitsUnderARightChecksumGivesAStatus) {
  std::string bytes = good_;
  int accepted = 0;
  for (uint64_t bit = 0; bit < header_end_ * 8;
       bit += 5) {  // 5 and 8 have no common divisor: all bit positions
    bytes[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    Sign(&bytes, header_end_);
    const auto file = Open(bytes);
    if (file.ok()) {  // another run id, another CRC, another rope_theta: tensors are still what the
                      // table says
      ++accepted;
      for (const std::string& name : (*file)->names()) (*file)->Get(name).IgnoreError();
    } else {
      ASSERT_THAT(file, StatusIs(::testing::AnyOf(kDataLoss, absl::StatusCode::kUnimplemented),
                                 HasSubstr("/bad: ")));
    }
    bytes[bit / 8] ^= static_cast<char>(1 << (bit % 8));
  }
  EXPECT_LT(accepted, static_cast<int>(header_end_ * 8 / 5 / 2));
}

TEST_F(TpackDamage, RandomHeadersUnderARightChecksumGiveAStatus) {
  Philox random(6);
  for (int i = 0; i < 1500; ++i) {
    std::string bytes = good_;
    for (int e = static_cast<int>(random.Below(4)); e >= 0; --e) {
      const uint64_t at = 64 + random.Below(header_end_ - 64 - 8);
      const uint64_t choices[] = {
          0, 1, 3, 64, ~uint64_t{0}, uint64_t{1} << 63, 0xFFFFFFFF, random.Next64()};
      std::memcpy(bytes.data() + at, &choices[random.Below(8)], random.Below(2) == 0 ? 4 : 8);
    }
    Sign(&bytes, header_end_);
    const auto file = Open(bytes);
    if (!file.ok()) continue;
    for (const std::string& name : (*file)->names()) (*file)->Get(name).IgnoreError();
    (*file)->VerifyAll().IgnoreError();
  }
}

TEST_F(TpackDamage, NewerVersionAndUnknownInterleavingSayWhatToDo) {
  std::string bytes = good_;
  bytes[8] = 2;
  Sign(&bytes, header_end_);
  EXPECT_THAT(Open(bytes), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("version 2")));
  bytes = good_;
  bytes[bytes.find("tile16x16-v1") + 11] = '9';
  Sign(&bytes, header_end_);
  EXPECT_THAT(Open(bytes), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("tile16x16-v9")));
}

TEST_F(TpackDamage, CodeThreeUnderRightChecksumsIsRefused) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> good, TpackFile::Open(&env_, "/good"));
  ASSERT_OK_AND_ASSIGN(const TpackTensor q, good->Get("layers.0.attn.q.weight"));
  std::string data(reinterpret_cast<const char*>(q.data.data()), q.data.size());
  const uint32_t old_crc = Crc32c(0, data.data(), data.size());
  std::string bytes = good_;
  const size_t at = bytes.find(data);
  data[9] |= 3;
  const uint32_t new_crc = Crc32c(0, data.data(), data.size());
  bytes.replace(at, data.size(), data);
  const size_t crc_at = bytes.find(std::string(reinterpret_cast<const char*>(&old_crc), 4));
  ASSERT_LT(crc_at, header_end_);
  std::memcpy(bytes.data() + crc_at, &new_crc, 4);
  Sign(&bytes, header_end_);
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> bad, Open(bytes));
  EXPECT_THAT(bad->Get("layers.0.attn.q.weight"),
              StatusIs(kDataLoss, AllOf(HasSubstr("byte 9"), HasSubstr("ternary codes"))));
  EXPECT_THAT(bad->VerifyAll(), StatusIs(kDataLoss, HasSubstr("byte 9")));
}

TEST_F(TpackDamage, OtherFilesAreNamedAsSuch) {
  EXPECT_THAT(Open(""), StatusIs(kDataLoss, HasSubstr("expected at least 64, found 0")));
  EXPECT_THAT(Open(std::string(500, 'x')), StatusIs(kDataLoss, HasSubstr("not a .tpack")));
  EXPECT_THAT(TpackFile::Open(&env_, "/none"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none")));
}

}  // namespace
}  // namespace tritter
