// Single tensors in the forms that a packed model holds: the one place where weights become codes
// and codes become tiles, whatever they are read from and written to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"
#include "model/packed_model_file.h"
#include "model/tpack.h"
#include "model/weight_source.h"

namespace tritter {

// The codes of a ternary matrix: those that are stored, else what rule absmean makes of the weights
// (kernels/quantise.h). Errors: those of the source.
absl::StatusOr<TernaryCodes> TernaryCodesOf(WeightSource* source, const ParameterSpec& parameter);

// Ternary matrices as tile16x16-v1, everything else as F32. Errors: those of the source.
absl::StatusOr<TpackTensorToWrite> PackTensor(WeightSource* source, const ParameterSpec& parameter);

// Codes [rows, cols] in form tile16x16-v1.
std::string TileCodes(const int8_t* q, int64_t rows, int64_t cols);

// The codes of a ternary tensor, in either form. Errors: DataLoss naming the byte that holds no
// code.
absl::Status UnpackCodes(const TpackTensor& tensor, std::vector<int8_t>* q);

// The values of a tensor that is not ternary: its own bytes where they are F32, else converted into
// `buffer`.
absl::Span<const float> PlainValues(const TpackTensor& tensor, std::vector<float>* buffer);

inline absl::Span<const uint8_t> BytesOf(absl::Span<const float> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace tritter
