#include "model/crc32c.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tritter {
namespace {

TEST(Crc32c, VectorsOfRfc3720) {
  EXPECT_EQ(Crc32c(0, "123456789", 9), 0xE3069283u);
  EXPECT_EQ(Crc32c(0, "", 0), 0u);
  const std::string zeros(32, '\0'), ones(32, '\xff');
  EXPECT_EQ(Crc32c(0, zeros.data(), 32), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(0, ones.data(), 32), 0x62A8AB43u);
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending.push_back(static_cast<char>(i));
  EXPECT_EQ(Crc32c(0, ascending.data(), 32), 0x46DD794Eu);
}

TEST(Crc32c, PiecesAndPortableFormAgreeWithTheWhole) {
  std::mt19937 rng(1);
  for (int i = 0; i < 500; ++i) {
    std::vector<uint8_t> data(rng() % (i % 10 == 0 ? 20000 : 200));
    for (uint8_t& b : data) b = static_cast<uint8_t>(rng());
    const uint32_t whole = Crc32c(0, data.data(), data.size());
    EXPECT_EQ(crc32c_internal::Portable(0, data.data(), data.size()), whole);
    const size_t cut = data.empty() ? 0 : rng() % data.size();
    EXPECT_EQ(Crc32c(Crc32c(0, data.data(), cut), data.data() + cut, data.size() - cut), whole);
  }
}

TEST(Crc32c, EverySingleBitFlipIsSeen) {
  std::vector<uint8_t> data(64, 0x5A);
  const uint32_t good = Crc32c(0, data.data(), data.size());
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    data[bit / 8] ^= 1 << (bit % 8);
    EXPECT_NE(Crc32c(0, data.data(), data.size()), good);
    data[bit / 8] ^= 1 << (bit % 8);
  }
}

}  // namespace
}  // namespace tritter
