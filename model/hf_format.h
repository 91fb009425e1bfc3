// The Hugging Face form: names of tensors, config.json, packed ternary weights. What the
// transformers library (5.x) reads and computes of families bitnet and llama, and how family
// tritter, which it does not know, lies in the same form: docs/formats/exchange.md. No files here.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/config.h"

namespace tritter {

// How the ternary matrices are stored.
enum class HfWeights {
  // F32, BF16 or F16 master weights, quantised when they are used (linear_class autobitlinear,
  // quantization_mode online).
  kPlain,
  // Codes in U8 with weight_scale = mean|W| (autobitlinear, offline).
  kPackedScale,
  // Codes in U8 with weight_scale = 1 / mean|W| (bitlinear).
  kPackedInverseScale,
};

// "layers.3.attn.q.weight" -> "model.layers.3.self_attn.q_proj.weight".
std::string HfTensorName(absl::string_view parameter, Family family);
// "….weight" -> "….weight_scale".
std::string HfScaleName(absl::string_view tensor);

// Whether the form can say all of this configuration (of families that the library has:
// whether it computes it as we do). Errors: InvalidArgument with the switch it has not.
absl::Status CheckHfExpressible(const ModelConfig& config);

struct HfConfig {
  ModelConfig model;
  HfWeights weights = HfWeights::kPlain;
  // Ids of the tokenizer's bos, eos and pad are written; false for a foreign tokenizer.
  bool byte_tokenizer = true;
  bool tokenizer_beside = false;  // a foreign one is in the folder; the model card says so
};
// kPlain or kPackedScale.
std::string HfConfigText(const HfConfig& config);
// Errors, with `path` and the field: DataLoss (not JSON, a missing field, a wrong type),
// Unimplemented (a field that changes the numbers in a way we have not), InvalidArgument (sizes
// that do not fit).
absl::StatusOr<HfConfig> ParseHfConfig(absl::string_view text, absl::string_view path);

// Packed rows: byte [p, c] holds the codes (-1 -> 0, 0 -> 1, +1 -> 2) of rows p, p + rows/4,
// p + 2 rows/4, p + 3 rows/4 of column c, least significant pair first; rows is a multiple of 4.
// q [rows, cols]; packed [rows / 4, cols].
void HfPack(const int8_t* q, int64_t rows, int64_t cols, uint8_t* packed);
// False when a code 3 is met; *bad_byte is its offset.
bool HfUnpack(const uint8_t* packed, int64_t rows, int64_t cols, int8_t* q, int64_t* bad_byte);

}  // namespace tritter
