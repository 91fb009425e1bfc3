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

// The instruction takes three cycles and can begin every cycle: three parts at a time, put together
// with what a part of zeros does to a state, which is linear in its bits.
constexpr size_t kPart = 2048;

std::array<std::array<uint32_t, 256>, 4> MakeShift() {
  std::array<std::array<uint32_t, 256>, 4> shift{};
  for (int bit = 0; bit < 32; ++bit) {
    uint32_t state = uint32_t{1} << bit;
    for (size_t i = 0; i < kPart; ++i) state = (state >> 8) ^ kTable[state & 0xFF];
    for (uint32_t byte = 0; byte < 256; ++byte) {
      if ((byte >> (bit % 8) & 1) != 0) shift[bit / 8][byte] ^= state;
    }
  }
  return shift;
}

// The state behind kPart zeros.
uint64_t Shifted(uint64_t state) {
  static const auto shift = MakeShift();
  return shift[0][state & 0xFF] ^ shift[1][state >> 8 & 0xFF] ^ shift[2][state >> 16 & 0xFF] ^
         shift[3][state >> 24 & 0xFF];
}

uint64_t Word(const uint8_t* data) {
  uint64_t word;
  std::memcpy(&word, data, 8);
  return word;
}

__attribute__((target("sse4.2"))) uint32_t WithSse42(uint32_t crc, const uint8_t* data,
                                                     size_t size) {
  uint64_t state = static_cast<uint32_t>(~crc);
  for (; size >= 3 * kPart; data += 3 * kPart, size -= 3 * kPart) {
    uint64_t second = 0, third = 0;
    for (const uint8_t* at = data; at < data + kPart; at += 8) {
      state = _mm_crc32_u64(state, Word(at));
      second = _mm_crc32_u64(second, Word(at + kPart));
      third = _mm_crc32_u64(third, Word(at + 2 * kPart));
    }
    state = Shifted(Shifted(state) ^ second) ^ third;
  }
  for (; size >= 8; data += 8, size -= 8) state = _mm_crc32_u64(state, Word(data));
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
