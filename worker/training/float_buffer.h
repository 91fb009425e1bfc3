// A zeroed, 64-byte aligned array of floats that never moves.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "absl/types/span.h"

namespace tritter {

class FloatBuffer {
 public:
  FloatBuffer() = default;
  explicit FloatBuffer(int64_t size)
      : size_(size),
        data_(static_cast<float*>(std::aligned_alloc(64, (size * sizeof(float) + 127) / 64 * 64))) {
    if (data_ == nullptr) throw std::bad_alloc();  // as a vector would; the trainer catches it
    std::memset(data_.get(), 0, size * sizeof(float));
  }
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  // Grows to at least `size`, losing the content.
  float* Reserve(int64_t size) {
    if (size > size_) *this = FloatBuffer(size);
    return data();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  int64_t size_ = 0;
  std::unique_ptr<float, Free> data_;
};

}  // namespace tritter
