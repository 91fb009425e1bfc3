// The tensor types of GGUF that we have, as pure functions between values and bytes. Layouts:
// docs/formats/gguf.md.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ8_0 = 8,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
};

struct GgufTypeInfo {
  GgufType type;
  const char* name;      // "TQ2_0"
  int64_t block_values;  // rows are a whole number of blocks
  int64_t block_bytes;
};
// Null for a type that we do not have.
const GgufTypeInfo* FindGgufType(uint32_t type);
const GgufTypeInfo* FindGgufType(absl::string_view name);  // in any case
const GgufTypeInfo& InfoOf(GgufType type);
inline int64_t GgufBytes(GgufType type, int64_t values) {
  const GgufTypeInfo& info = InfoOf(type);
  return values / info.block_values * info.block_bytes;
}

// n is a multiple of the type's block. TQ1_0 and TQ2_0 take the largest magnitude of a block as its
// scale and round what is left to -1, 0, +1.
void EncodeGguf(GgufType type, const float* values, int64_t n, uint8_t* out);
void DecodeGguf(GgufType type, const uint8_t* bytes, int64_t n, float* values);

// The first byte of TQ2_0 blocks that holds a code 3, which is none; -1 when there is no such byte,
// and for every other type.
int64_t FindInvalidCode(GgufType type, absl::Span<const uint8_t> bytes);

// Codes -1, 0, +1 times `scale` in any type; of TQ1_0 and TQ2_0 the codes are exact and the scale
// is rounded to F16.
void EncodeGgufTernary(GgufType type, const int8_t* q, int64_t n, float scale, uint8_t* out);

}  // namespace tritter
