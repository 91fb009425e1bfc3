#include "model/yaml_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "common/random.h"

namespace tritter {
namespace {

TEST(YamlNumber, IsShortAndAlwaysANumber) {
  EXPECT_EQ(YamlNumber(1), "1.0");
  EXPECT_EQ(YamlNumber(0), "0.0");
  EXPECT_EQ(YamlNumber(-2.5), "-2.5");
  EXPECT_EQ(YamlNumber(0.003), "0.003");
  EXPECT_EQ(YamlNumber(1e-8), "1.0e-08");
  EXPECT_EQ(YamlNumber(500000), "500000.0");
  EXPECT_EQ(YamlNumber(1e-5), "0.00001");
  EXPECT_EQ(YamlNumber(1e300), "1.0e+300");
  EXPECT_EQ(YamlNumber(0.1), "0.1");
  EXPECT_EQ(YamlNumber(0.1 + 0.2), "0.30000000000000004");
}

TEST(YamlNumber, ReadsBackAsTheSameDouble) {
  Philox random(11);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random.Next64();
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    EXPECT_EQ(std::strtod(YamlNumber(value).c_str(), nullptr), value);
  }
}

TEST(YamlQuoted, EscapesWhatWouldEndOrBreakTheScalar) {
  EXPECT_EQ(YamlQuoted("shards/a b"), "\"shards/a b\"");
  EXPECT_EQ(YamlQuoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(YamlQuoted("a\nb\x01"), "\"a\\x0ab\\x01\"");
  EXPECT_EQ(YamlQuoted("größe"), "\"größe\"");
}

}  // namespace
}  // namespace tritter
