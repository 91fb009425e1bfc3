// Memory with a mapping of its own, aligned to huge pages and made of them where the system has
// any: fewer TLB misses where much of it is read, and aligned as direct reads ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace tritter {

// Movable; given back when it is destroyed.
class HugeBuffer {
 public:
  static constexpr size_t kPage = 4096;

  HugeBuffer() = default;
  ~HugeBuffer();
  HugeBuffer(HugeBuffer&& other) noexcept { *this = std::move(other); }
  HugeBuffer& operator=(HugeBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  // `bytes` rounded up to whole pages, all of them in memory and zero: never more than that, even
  // where the last huge page would not be full. 0 bytes need none. Errors: ResourceExhausted.
  static absl::StatusOr<HugeBuffer> Allocate(size_t bytes);

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tritter
