#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/gguf/gguf_tokenizer.h"
#include "model/gguf/gguf_weights.h"
#include "model/packed_tensor.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;

// What rounding took from values, beside the largest of them.
struct Rounding {
  int64_t values = 0, changed = 0;
  double largest = 0;  // relative to the value; of Q8_0 to the largest of the tensor

  void Note(double value, double stored, double unit) {
    ++values;
    if (value == stored) return;
    ++changed;
    largest = std::max(largest, std::fabs(value - stored) / (unit > 0 ? unit : std::fabs(value)));
  }
};

struct Losses {
  Rounding plain, scales;
};

// Gives `rows` rows in pieces: row(r, out) writes the bytes of row r.
template <typename Row>
absl::Status InPieces(int64_t rows, int64_t row_bytes, const GgufAppend& append, const Row& row) {
  const int64_t step = std::max<int64_t>(1, kPieceBytes / row_bytes);
  std::string piece;
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    piece.assign(static_cast<size_t>(count * row_bytes), '\0');
    for (int64_t r = 0; r < count; ++r)
      RETURN_IF_ERROR(row(first + r, reinterpret_cast<uint8_t*>(piece.data()) + r * row_bytes));
    RETURN_IF_ERROR(append(piece));
  }
  return absl::OkStatus();
}

absl::Status WritePlain(WeightSource* source, const ParameterSpec& parameter, GgufType type,
                        Rounding* rounding, const GgufAppend& append) {
  ASSIGN_OR_RETURN(const absl::Span<const float> values, source->Get(parameter));
  const int64_t cols = parameter.shape.back(), rows = static_cast<int64_t>(values.size()) / cols;
  std::vector<float> back(static_cast<size_t>(cols));
  double unit = 0;
  if (type == GgufType::kQ8_0) {
    for (const float value : values) unit = std::max(unit, std::fabs(double{value}));
  }
  return InPieces(rows, GgufBytes(type, cols), append, [&](int64_t r, uint8_t* out) {
    const float* const row = values.data() + r * cols;
    EncodeGguf(type, row, cols, out);
    if (type == GgufType::kF32) return absl::OkStatus();
    DecodeGguf(type, out, cols, back.data());
    for (int64_t c = 0; c < cols; ++c) {
      if (!std::isfinite(back[c])) {
        return absl::FailedPreconditionError(absl::StrCat("row ", r, ", column ", c, " is ", row[c],
                                                          ", which is beyond ", InfoOf(type).name,
                                                          "; write BF16 or F32 instead"));
      }
      rounding->Note(row[c], back[c], unit);
    }
    return absl::OkStatus();
  });
}

absl::Status WriteTernary(WeightSource* source, const ParameterSpec& parameter, GgufType type,
                          float* scale_beside, Rounding* rounding, const GgufAppend& append) {
  ASSIGN_OR_RETURN(const TernaryCodes codes, TernaryCodesOf(source, parameter));
  const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
  float scale = codes.scales[0];
  if (scale_beside != nullptr) *scale_beside = std::exchange(scale, 1.0f);
  // One block of ones says what becomes of the scale.
  const int64_t block = InfoOf(type).block_values;
  const std::vector<int8_t> ones(static_cast<size_t>(block), 1);
  std::vector<uint8_t> bytes(static_cast<size_t>(InfoOf(type).block_bytes));
  std::vector<float> back(static_cast<size_t>(block));
  EncodeGgufTernary(type, ones.data(), block, scale, bytes.data());
  DecodeGguf(type, bytes.data(), block, back.data());
  if (!std::isfinite(back[0]) || back[0] <= 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "its scale ", scale, " is beyond ", InfoOf(type).name, "; write BF16 or F32 instead"));
  }
  rounding->Note(scale, back[0], 0);
  return InPieces(rows, GgufBytes(type, cols), append, [&](int64_t r, uint8_t* out) {
    const int64_t ours = RowOfGguf(source->config(), parameter.name, r);
    EncodeGgufTernary(type, codes.q.data() + ours * cols, cols, scale, out);
    return absl::OkStatus();
  });
}

std::vector<std::string> Sentences(const Losses& losses, const GgufOptions& options) {
  std::vector<std::string> out;
  if (losses.plain.changed > 0) {
    out.push_back(
        absl::StrCat(losses.plain.changed, " of ", losses.plain.values,
                     " values of embedding and head rounded to ", InfoOf(options.embeddings).name,
                     ", by at most ", losses.plain.largest,
                     options.embeddings == GgufType::kQ8_0 ? " of the largest" : " of the value"));
  }
  if (losses.scales.changed > 0) {
    out.push_back(absl::StrCat(losses.scales.changed, " of ", losses.scales.values,
                               " scales of matrices rounded to ", InfoOf(options.matrices).name,
                               ", by at most ", losses.scales.largest, "; the codes are the same"));
  }
  if (options.architecture == GgufArchitecture::kBitnet) {
    out.push_back(
        "programs that read architecture bitnet apply SiLU in the FFN where this model was trained "
        "with squared ReLU: the same work, another text");
  }
  return out;
}

}  // namespace

absl::StatusOr<GgufResult> WriteGgufWeights(Env* env, WeightSource* source, const std::string& path,
                                            const GgufOptions& options,
                                            const TokenizerFiles* tokenizer) {
  const ModelConfig& config = source->config();
  RETURN_IF_ERROR(CheckPackable(config));
  RETURN_IF_ERROR(CheckGgufExpressible(config, options));
  Losses losses;
  float scale = 0;  // of the matrix just written
  const bool beside = GgufArchitectureOf(config, options) == GgufArchitecture::kBitnet;
  std::vector<GgufTensorToWrite> tensors;
  for (const ParameterSpec& parameter : ParameterTable(config)) {
    const std::string name = GgufTensorName(parameter.name);
    if (parameter.kind != ParameterKind::kTernary) {
      const GgufType type =
          parameter.kind == ParameterKind::kNorm ? GgufType::kF32 : options.embeddings;
      tensors.push_back({name, parameter.shape, type,
                         [&losses, source, parameter, type](const GgufAppend& append) {
                           return WritePlain(source, parameter, type, &losses.plain, append);
                         }});
      continue;
    }
    tensors.push_back(
        {name, parameter.shape, options.matrices, [&, parameter](const GgufAppend& append) {
           return WriteTernary(source, parameter, options.matrices, beside ? &scale : nullptr,
                               &losses.scales, append);
         }});
    if (!beside) continue;
    tensors.push_back({GgufScaleName(name), {1}, GgufType::kF32, [&](const GgufAppend& append) {
                         uint8_t bytes[4];
                         EncodeGguf(GgufType::kF32, &scale, 1, bytes);
                         return append({reinterpret_cast<const char*>(bytes), sizeof(bytes)});
                       }});
  }
  GgufMetadata metadata = MetadataOf(config, source->origin(), options);
  std::string not_kept;
  if (tokenizer != nullptr) {
    ASSIGN_OR_RETURN(not_kept, AddTokenizer(*tokenizer, config.vocab, &metadata));
  } else if (source->origin().tokenizer_hash != ByteTokenizer().hash()) {
    metadata.Text("tokenizer.ggml.model", "none");
    not_kept = "the tokenizer is not in the file (it is not the byte tokenizer)";
  }
  GgufResult result;
  ASSIGN_OR_RETURN(result.file, WriteGguf(env, path, metadata, tensors));
  result.losses = Sentences(losses, options);
  if (!not_kept.empty()) result.losses.push_back(std::move(not_kept));
  return result;
}

}  // namespace tritter
