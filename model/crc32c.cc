#include "model/crc32c.h"

#include <nmmintrin.h>

#include <array>
#include <cstring>

namespace tritter {
namespace {

constexpr uint32_t kReflectedPolynomial = 0x82F63B78u;

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kReflectedPolynomial : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = MakeTable();

__attribute__((target("sse4.2"))) uint32_t WithSse42(uint32_t crc, const uint8_t* data,
                                                     size_t size) {
  uint64_t state = ~crc;
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    state = _mm_crc32_u64(state, word);
  }
  uint32_t tail = static_cast<uint32_t>(state);
  for (; size > 0; ++data, --size) tail = _mm_crc32_u8(tail, *data);
  return ~tail;
}

}  // namespace

namespace crc32c_internal {

uint32_t Portable(uint32_t crc, const uint8_t* data, size_t size) {
  crc = ~crc;
  for (size_t i = 0; i < size; ++i) crc = (crc >> 8) ^ kTable[(crc ^ data[i]) & 0xFF];
  return ~crc;
}

}  // namespace crc32c_internal

uint32_t Crc32c(uint32_t crc, const void* data, size_t size) {
  static const bool has_sse42 = (__builtin_cpu_init(), __builtin_cpu_supports("sse4.2") != 0);
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  return has_sse42 ? WithSse42(crc, bytes, size) : crc32c_internal::Portable(crc, bytes, size);
}

}  // namespace tritter
