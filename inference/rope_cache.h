// cos and sin of rotary positions, made on first use in stretches of 256 positions and kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tritter {

// Ensure is called by one thread; Cos and Sin may then be called by any.
class RopeCache {
 public:
  RopeCache(double theta, int64_t head_dim) : theta_(theta), head_dim_(head_dim) {}
  void Ensure(int64_t position);
  // What Ensure has allocated when it was called for every position below `positions`.
  static int64_t Bytes(int64_t head_dim, int64_t positions) {
    return (positions + kStretch - 1) / kStretch * (2 * kStretch * (head_dim / 2)) *
           static_cast<int64_t>(sizeof(float));
  }
  const float* Cos(int64_t position) const { return At(position, 0); }  // [D/2]
  const float* Sin(int64_t position) const { return At(position, 1); }  // [D/2]

 private:
  static constexpr int64_t kStretch = 256;
  const float* At(int64_t position, int64_t which) const {
    const int64_t half = head_dim_ / 2;
    return stretches_[static_cast<size_t>(position / kStretch)].data() +
           (which * kStretch + position % kStretch) * half;
  }

  const double theta_;
  const int64_t head_dim_;
  std::vector<std::vector<float>> stretches_;  // each [cos | sin][256][D/2]
};

}  // namespace tritter
