#include "model/gguf/gguf_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/match.h"
#include "kernels/half.h"

namespace tritter {
namespace {

constexpr int kTernaryBlock = 256, kQ8Block = 32;
constexpr GgufTypeInfo kTypes[] = {
    {GgufType::kF32, "F32", 1, 4},
    {GgufType::kF16, "F16", 1, 2},
    {GgufType::kQ8_0, "Q8_0", kQ8Block, 34},
    {GgufType::kBF16, "BF16", 1, 2},
    {GgufType::kTQ1_0, "TQ1_0", kTernaryBlock, 54},
    {GgufType::kTQ2_0, "TQ2_0", kTernaryBlock, 66},
};

void StoreHalf(uint16_t half, uint8_t* out) {
  out[0] = static_cast<uint8_t>(half);
  out[1] = static_cast<uint8_t>(half >> 8);
}
uint16_t LoadHalf(const uint8_t* in) { return static_cast<uint16_t>(in[0] | in[1] << 8); }

// TQ1_0: a byte is the first digits of a fraction in base 3, v / 3^5 rounded up to 1/256, so that
// multiplying by 3 brings out one trit after the other. Of a group of `width` bytes, trit t of byte
// m is value t · width + m.
constexpr int kPowers[] = {1, 3, 9, 27, 81, 243};
struct TritGroup {
  int width, trits;
};
constexpr TritGroup kTritGroups[] = {{32, 5}, {16, 5}, {4, 4}};

void EncodeTrits(const int8_t* q, uint8_t* out) {
  for (const auto& [width, trits] : kTritGroups) {
    for (int m = 0; m < width; ++m) {
      int v = 0;
      for (int t = 0; t < trits; ++t) v += (q[t * width + m] + 1) * kPowers[4 - t];
      *out++ = static_cast<uint8_t>((v * 256 + 242) / 243);
    }
    q += width * trits;
  }
}

void DecodeTrits(const uint8_t* in, int8_t* q) {
  for (const auto& [width, trits] : kTritGroups) {
    for (int m = 0; m < width; ++m, ++in) {
      for (int t = 0; t < trits; ++t) {
        const int rest = (*in * kPowers[t]) & 255;
        q[t * width + m] = static_cast<int8_t>((rest * 3 >> 8) - 1);
      }
    }
    q += width * trits;
  }
}

// TQ2_0: in each half of 128 values, bit pair t of byte m is value 32 t + m.
void EncodePairs(const int8_t* q, uint8_t* out) {
  for (int half = 0; half < 2; ++half, q += 128) {
    for (int m = 0; m < 32; ++m) {
      int byte = 0;
      for (int t = 0; t < 4; ++t) byte |= (q[32 * t + m] + 1) << (2 * t);
      *out++ = static_cast<uint8_t>(byte);
    }
  }
}

void DecodePairs(const uint8_t* in, int8_t* q) {
  for (int half = 0; half < 2; ++half, q += 128) {
    for (int m = 0; m < 32; ++m, ++in) {
      for (int t = 0; t < 4; ++t) q[32 * t + m] = static_cast<int8_t>((*in >> (2 * t) & 3) - 1);
    }
  }
}

void EncodeTernaryBlock(GgufType type, const int8_t* q, float scale, uint8_t* out) {
  const int64_t bytes = InfoOf(type).block_bytes;
  type == GgufType::kTQ1_0 ? EncodeTrits(q, out) : EncodePairs(q, out);
  StoreHalf(ToF16(scale), out + bytes - 2);
}

float LargestMagnitude(const float* values, int n) {
  float largest = 0;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(values[i]));
  return largest;
}

void EncodeTernaryValues(GgufType type, const float* values, uint8_t* out) {
  const float scale = LargestMagnitude(values, kTernaryBlock);
  int8_t q[kTernaryBlock];
  for (int i = 0; i < kTernaryBlock; ++i)
    q[i] = scale > 0 ? static_cast<int8_t>(std::lround(values[i] / scale)) : 0;
  EncodeTernaryBlock(type, q, scale, out);
}

void EncodeQ8Block(const float* values, uint8_t* out) {
  const float scale = LargestMagnitude(values, kQ8Block) / 127;
  StoreHalf(ToF16(scale), out);
  for (int i = 0; i < kQ8Block; ++i) {
    const long q = scale > 0 ? std::lround(values[i] * (1 / scale)) : 0;
    out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp<long>(q, -127, 127)));
  }
}

}  // namespace

const GgufTypeInfo* FindGgufType(uint32_t type) {
  for (const GgufTypeInfo& info : kTypes) {
    if (static_cast<uint32_t>(info.type) == type) return &info;
  }
  return nullptr;
}

const GgufTypeInfo* FindGgufType(absl::string_view name) {
  for (const GgufTypeInfo& info : kTypes) {
    if (absl::EqualsIgnoreCase(name, info.name)) return &info;
  }
  return nullptr;
}

const GgufTypeInfo& InfoOf(GgufType type) { return *FindGgufType(static_cast<uint32_t>(type)); }

void EncodeGguf(GgufType type, const float* values, int64_t n, uint8_t* out) {
  const GgufTypeInfo& info = InfoOf(type);
  for (int64_t i = 0; i < n; i += info.block_values, out += info.block_bytes) {
    switch (type) {
      case GgufType::kF32:
        std::memcpy(out, values + i, sizeof(float));
        break;
      case GgufType::kF16:
        StoreHalf(ToF16(values[i]), out);
        break;
      case GgufType::kBF16:
        StoreHalf(ToBF16(values[i]), out);
        break;
      case GgufType::kQ8_0:
        EncodeQ8Block(values + i, out);
        break;
      case GgufType::kTQ1_0:
      case GgufType::kTQ2_0:
        EncodeTernaryValues(type, values + i, out);
        break;
    }
  }
}

void DecodeGguf(GgufType type, const uint8_t* bytes, int64_t n, float* values) {
  const GgufTypeInfo& info = InfoOf(type);
  for (int64_t i = 0; i < n; i += info.block_values, bytes += info.block_bytes) {
    switch (type) {
      case GgufType::kF32:
        std::memcpy(values + i, bytes, sizeof(float));
        break;
      case GgufType::kF16:
        values[i] = HalfToFloat(LoadHalf(bytes));
        break;
      case GgufType::kBF16:
        values[i] = FromBF16(LoadHalf(bytes));
        break;
      case GgufType::kQ8_0: {
        const float scale = HalfToFloat(LoadHalf(bytes));
        for (int j = 0; j < kQ8Block; ++j)
          values[i + j] = static_cast<float>(static_cast<int8_t>(bytes[2 + j])) * scale;
        break;
      }
      case GgufType::kTQ1_0:
      case GgufType::kTQ2_0: {
        int8_t q[kTernaryBlock];
        type == GgufType::kTQ1_0 ? DecodeTrits(bytes, q) : DecodePairs(bytes, q);
        const float scale = HalfToFloat(LoadHalf(bytes + info.block_bytes - 2));
        for (int j = 0; j < kTernaryBlock; ++j) values[i + j] = static_cast<float>(q[j]) * scale;
        break;
      }
    }
  }
}

int64_t FindInvalidCode(GgufType type, absl::Span<const uint8_t> bytes) {
  if (type != GgufType::kTQ2_0) return -1;
  const size_t block_bytes = static_cast<size_t>(InfoOf(type).block_bytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool code = i % block_bytes < block_bytes - 2;
    if (code && (bytes[i] & (bytes[i] >> 1) & 0x55) != 0) return static_cast<int64_t>(i);
  }
  return -1;
}

void EncodeGgufTernary(GgufType type, const int8_t* q, int64_t n, float scale, uint8_t* out) {
  if (type == GgufType::kTQ1_0 || type == GgufType::kTQ2_0) {
    for (int64_t i = 0; i < n; i += kTernaryBlock, out += InfoOf(type).block_bytes)
      EncodeTernaryBlock(type, q + i, scale, out);
    return;
  }
  std::vector<float> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(q[i]) * scale;
  EncodeGguf(type, values.data(), n, out);
}

}  // namespace tritter
