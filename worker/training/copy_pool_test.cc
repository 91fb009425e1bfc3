#include "worker/training/copy_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace tritter {
namespace {

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
std::string Text(absl::Span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

TEST(CopyPool, HoldsEveryPieceAsItWas) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>('a' + i % 23);
  const std::string want = text;
  const auto part = [&](size_t at, size_t size) { return Bytes(text).subspan(at, size); };
  for (const int threads : {1, 2, 3}) {
    ParallelRows parallel(threads);
    CopyPool pool;
    // Neighbours, out of order, empty, with gaps, of any alignment.
    const CopiedPieces copy = pool.Copy(
        {part(3000, 1000), part(0, 7), part(7, 2000), part(2500, 0), part(4999, 1)}, &parallel);
    text.assign(text.size(), '-');
    EXPECT_EQ(Text(copy.piece(0)), want.substr(3000, 1000));
    EXPECT_EQ(Text(copy.piece(1)), want.substr(0, 7));
    EXPECT_EQ(Text(copy.piece(2)), want.substr(7, 2000));
    EXPECT_EQ(Text(copy.piece(3)), "");
    EXPECT_EQ(Text(copy.piece(4)), want.substr(4999, 1));
    text = want;
  }
}

TEST(CopyPool, TheMemoryOfAnEndedCopyIsUsedAgain) {
  const std::string a(1000, 'a'), b(900, 'b');
  ParallelRows parallel(1);
  CopyPool pool;
  const uint8_t* first = nullptr;
  {
    const CopiedPieces copy = pool.Copy({Bytes(a)}, &parallel);
    first = copy.piece(0).data();
  }
  const CopiedPieces again = pool.Copy({Bytes(b)}, &parallel);
  EXPECT_EQ(again.piece(0).data(), first);
}

TEST(CopyPool, WhatWasReservedIsUsed) {
  const std::string a(1000, 'a');
  ParallelRows parallel(1);
  CopyPool pool;
  pool.Reserve(1000);
  std::optional<CopiedPieces> copy(pool.Copy({Bytes(a)}, &parallel));
  const uint8_t* first = copy->piece(0).data();
  copy.reset();
  pool.Reserve(1000);  // there already
  EXPECT_EQ(pool.Copy({Bytes(a)}, &parallel).piece(0).data(), first);
}

TEST(CopyPool, TwoCopiesAtATimeShareNothingAndOutliveThePool) {
  const std::string a(1000, 'a'), b(2000, 'b');
  ParallelRows parallel(1);
  auto pool = std::make_unique<CopyPool>();
  const CopiedPieces one = pool->Copy({Bytes(a)}, &parallel);
  const CopiedPieces two = pool->Copy({Bytes(b)}, &parallel);
  pool.reset();
  EXPECT_EQ(Text(one.piece(0)), a);
  EXPECT_EQ(Text(two.piece(0)), b);
}

}  // namespace
}  // namespace tritter
