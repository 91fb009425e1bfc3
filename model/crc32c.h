// CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of tensor data: finds every single
// flipped bit and every burst of up to 32 bits at the speed of memory, so that a first read costs
// next to nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tritter {

// CRC of `size` bytes that follow bytes whose CRC is `crc` (0 at the start): Crc32c(Crc32c(0, a),
// b) == Crc32c(0, a + b).
uint32_t Crc32c(uint32_t crc, const void* data, size_t size);

namespace crc32c_internal {
uint32_t Portable(uint32_t crc, const uint8_t* data,
                  size_t size);  // table-driven; used without SSE 4.2
}  // namespace crc32c_internal

}  // namespace tritter
