#include "worker/training/copy_pool.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

namespace tritter {
namespace {

struct Range {
  const uint8_t* from;
  uint8_t* to;
  int64_t bytes;
};

// Bytes [first, end) of all the ranges one after the other.
void CopyPart(const std::vector<Range>& ranges, int64_t first, int64_t end) {
  int64_t begin = 0;  // of the range
  for (const Range& range : ranges) {
    const int64_t skip = std::max<int64_t>(0, first - begin);
    const int64_t stop = std::min(range.bytes, end - begin);
    if (skip < stop) std::memcpy(range.to + skip, range.from + skip, stop - skip);
    begin += range.bytes;
  }
}

int64_t Floats(int64_t bytes) {
  return (bytes + static_cast<int64_t>(sizeof(float)) - 1) / static_cast<int64_t>(sizeof(float));
}

}  // namespace

CopiedPieces::~CopiedPieces() {
  if (spare_ == nullptr) return;  // moved from
  MutexLock lock(&spare_->mu);
  if (buffer_.size() > spare_->buffer.size()) spare_->buffer = std::move(buffer_);
}

void CopyPool::Reserve(int64_t bytes) {
  MutexLock lock(&spare_->mu);
  spare_->buffer.Reserve(Floats(bytes));
}

FloatBuffer CopyPool::Take(int64_t bytes) {
  {
    MutexLock lock(&spare_->mu);
    FloatBuffer kept = std::exchange(spare_->buffer, FloatBuffer());
    if (kept.size() >= Floats(bytes)) return kept;
  }  // one that is too small is given up first
  return FloatBuffer(Floats(bytes));
}

CopiedPieces CopyPool::Copy(const std::vector<absl::Span<const uint8_t>>& pieces,
                            ParallelRows* parallel) {
  int64_t total = 0;
  for (const auto& piece : pieces) total += static_cast<int64_t>(piece.size());
  CopiedPieces copy;
  copy.spare_ = spare_;
  copy.buffer_ = Take(total);
  copy.pieces_.resize(pieces.size());
  // In the order of their addresses neighbours are one range: few long copies pass by the caches.
  std::vector<size_t> order(pieces.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::less<const uint8_t*>()(pieces[a].data(), pieces[b].data());
  });
  std::vector<Range> ranges;
  uint8_t* to = reinterpret_cast<uint8_t*>(copy.buffer_.data());
  for (const size_t i : order) {
    const int64_t bytes = static_cast<int64_t>(pieces[i].size());
    copy.pieces_[i] = {to, pieces[i].size()};
    if (!ranges.empty() && ranges.back().from + ranges.back().bytes == pieces[i].data()) {
      ranges.back().bytes += bytes;
    } else {
      ranges.push_back({pieces[i].data(), to, bytes});
    }
    to += bytes;
  }
  // In whole cache lines, so that no two threads write one.
  constexpr int64_t kLine = 64;
  parallel->Run((total + kLine - 1) / kLine, [&](int, int64_t first, int64_t end) {
    CopyPart(ranges, first * kLine, std::min(end * kLine, total));
  });
  return copy;
}

}  // namespace tritter
