#include "model/packed_tensor.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/half.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"

namespace tritter {

absl::StatusOr<TernaryCodes> TernaryCodesOf(WeightSource* source, const ParameterSpec& parameter) {
  ASSIGN_OR_RETURN(const TernaryCodes* const stored, source->GetCodes(parameter));
  if (stored != nullptr) return *stored;
  const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
  ASSIGN_OR_RETURN(const absl::Span<const float> w, source->Get(parameter));
  const bool per_row = source->config().granularity == ScaleGranularity::kRow;
  TernaryCodes out;
  out.q.resize(w.size());
  out.scales.resize(per_row ? rows : 1);
  QuantiseWeights(w.data(), rows, cols, per_row, out.q.data(), out.scales.data());
  return out;
}

absl::StatusOr<TpackTensorToWrite> PackTensor(WeightSource* source,
                                              const ParameterSpec& parameter) {
  TpackTensorToWrite out{parameter.name, parameter.shape, TpackType::kF32, "", {}};
  if (parameter.kind != ParameterKind::kTernary) {
    ASSIGN_OR_RETURN(const absl::Span<const float> values, source->Get(parameter));
    const absl::Span<const uint8_t> bytes = BytesOf(values);
    out.data.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return out;
  }
  ASSIGN_OR_RETURN(TernaryCodes codes, TernaryCodesOf(source, parameter));
  out.type = TpackType::kTernaryTile16x16;
  out.data = TileCodes(codes.q.data(), parameter.shape[0], parameter.shape[1]);
  out.scales = std::move(codes.scales);
  return out;
}

std::string TileCodes(const int8_t* q, int64_t rows, int64_t cols) {
  std::string out(static_cast<size_t>(TiledBytes(rows, cols)), '\0');
  uint8_t* const tiled = reinterpret_cast<uint8_t*>(out.data());
  std::vector<uint8_t> logical(static_cast<size_t>(kTileRows * LogicalRowBytes(cols)));
  for (int64_t first = 0; first < rows; first += kTileRows) {
    const int64_t count = std::min<int64_t>(kTileRows, rows - first);
    PackLogical(q + first * cols, count, cols, logical.data());
    LogicalToTiled(logical.data(), count, cols, tiled + TiledBytes(first, cols));
  }
  return out;
}

absl::Status UnpackCodes(const TpackTensor& tensor, std::vector<int8_t>* q) {
  const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
  q->resize(static_cast<size_t>(rows * cols));
  const uint8_t* logical = tensor.data.data();
  std::vector<uint8_t> converted;
  if (tensor.type == TpackType::kTernaryTile16x16) {
    converted.resize(static_cast<size_t>(rows * LogicalRowBytes(cols)));
    TiledToLogical(tensor.data.data(), rows, cols, converted.data());
    logical = converted.data();
  }
  int64_t bad = 0;
  if (UnpackLogical(logical, rows, cols, q->data(), &bad)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("tensor ", tensor.name, ": byte ", bad,
                                          " of its logical form is ", logical[bad],
                                          ", expected ternary codes 0 to 2 (padding 1)"));
}

absl::Span<const float> PlainValues(const TpackTensor& tensor, std::vector<float>* buffer) {
  const uint8_t* const data = tensor.data.data();
  switch (tensor.type) {
    case TpackType::kBF16: {
      buffer->resize(tensor.data.size() / 2);
      for (size_t i = 0; i < buffer->size(); ++i) {
        uint16_t half;
        std::memcpy(&half, data + 2 * i, sizeof(half));
        (*buffer)[i] = FromBF16(half);
      }
      return *buffer;
    }
    case TpackType::kRowInt8:
    case TpackType::kRowInt4: {
      const int64_t cols = tensor.shape[1];
      const RowFormat format = *RowFormatOf(tensor.type);
      buffer->resize(tensor.scales.size() * static_cast<size_t>(cols));
      for (size_t r = 0; r < tensor.scales.size(); ++r) {
        ExpandRow(format, data + static_cast<int64_t>(r) * QuantisedRowBytes(format, cols),
                  tensor.scales[r], cols, &(*buffer)[r * static_cast<size_t>(cols)]);
      }
      return *buffer;
    }
    case TpackType::kF32:
    case TpackType::kTernaryTile16x16:
    case TpackType::kTernaryLogical:
      break;
  }
  return {reinterpret_cast<const float*>(data), tensor.data.size() / sizeof(float)};
}

}  // namespace tritter
