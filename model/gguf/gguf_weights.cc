#include "model/gguf/gguf_weights.h"

#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "kernels/quantise.h"
#include "model/master_weights.h"

namespace tritter {
namespace {

std::string Shape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

class GgufWeights final : public WeightSource {
 public:
  GgufWeights(std::unique_ptr<GgufFile> file, GgufModel model)
      : file_(std::move(file)), model_(std::move(model)) {}
  const ModelConfig& config() const override { return model_.config; }
  const WeightOrigin& origin() const override { return model_.origin; }

  absl::Status CheckTensors() const {
    std::set<std::string> left;
    for (const GgufTensor& tensor : file_->tensors()) left.insert(tensor.name);
    const auto expect = [&](const std::string& name, const std::vector<int64_t>& shape) {
      const GgufTensor* const tensor = file_->Find(name);
      left.erase(name);
      if (tensor != nullptr && tensor->shape == shape) return absl::OkStatus();
      return absl::DataLossError(absl::StrCat(file_->path(), ": tensor `", name, "` is ",
                                              tensor == nullptr ? "missing" : Shape(tensor->shape),
                                              ", expected ", Shape(shape)));
    };
    for (const ParameterSpec& parameter : ParameterTable(model_.config)) {
      const std::string name = GgufTensorName(parameter.name), scale = GgufScaleName(name);
      RETURN_IF_ERROR(expect(name, parameter.shape));
      if (parameter.kind == ParameterKind::kTernary && file_->Find(scale) != nullptr)
        RETURN_IF_ERROR(expect(scale, {1}));
    }
    if (left.empty()) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(file_->path(), ": tensor `", *left.begin(),
                                            "` does not belong to this model (and ",
                                            left.size() - 1, " more)"));
  }

  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override {
    if (parameter.kind == ParameterKind::kTernary) {
      ASSIGN_OR_RETURN(const TernaryCodes* const codes, GetCodes(parameter));
      RETURN_IF_ERROR(
          Annotate(MasterWeights(*codes, parameter.shape[0], parameter.shape[1], &buffer_),
                   Where(GgufTensorName(parameter.name))));
    } else {
      RETURN_IF_ERROR(Values(GgufTensorName(parameter.name), &buffer_));
    }
    return absl::MakeConstSpan(buffer_);
  }

  absl::StatusOr<const TernaryCodes*> GetCodes(const ParameterSpec& parameter) override {
    if (parameter.kind != ParameterKind::kTernary) return nullptr;
    const std::string name = GgufTensorName(parameter.name);
    float scale = 0;
    RETURN_IF_ERROR(ReadCodes(*file_->Find(name), parameter, &scale));
    if (const std::string beside = GgufScaleName(name); file_->Find(beside) != nullptr) {
      std::vector<float> factor;
      RETURN_IF_ERROR(Values(beside, &factor));
      scale = scale == 0 ? factor[0] : scale * factor[0];
    } else if (scale == 0) {
      scale = kMinWeightScale;  // as the quantiser gives a matrix of zeros
    }
    if (!std::isfinite(scale) || scale <= 0)
      return absl::FailedPreconditionError(
          absl::StrCat(Where(name), ": its scale is ", scale, ", expected a number above 0"));
    codes_.scales = {scale};
    return &codes_;
  }

 private:
  std::string Where(const std::string& name) const {
    return absl::StrCat(file_->path(), ": offset ", file_->Find(name)->offset, ": tensor `", name,
                        "`");
  }

  absl::Status Values(const std::string& name, std::vector<float>* out) const {
    const GgufTensor& tensor = *file_->Find(name);
    int64_t count = 1;
    for (const int64_t n : tensor.shape) count *= n;
    out->resize(static_cast<size_t>(count));
    DecodeGguf(tensor.type, tensor.bytes.data(), count, out->data());
    for (int64_t i = 0; i < count; ++i) {
      if (std::isfinite((*out)[i])) continue;
      return absl::FailedPreconditionError(absl::StrCat(Where(name), ", element ", i, " is ",
                                                        (*out)[i], ", expected a finite number"));
    }
    return absl::OkStatus();
  }

  // Values -s, 0, +s of one s; 0 when all of them are.
  absl::Status ReadCodes(const GgufTensor& tensor, const ParameterSpec& parameter, float* scale) {
    const int64_t rows = tensor.shape[0], cols = tensor.shape[1],
                  row_bytes = GgufBytes(tensor.type, cols);
    codes_.q.resize(static_cast<size_t>(rows * cols));
    std::vector<float> row(static_cast<size_t>(cols));
    *scale = 0;
    if (const int64_t bad = FindInvalidCode(tensor.type, tensor.bytes); bad >= 0) {
      return absl::DataLossError(absl::StrCat(Where(tensor.name), ": byte ", bad, " is ",
                                              tensor.bytes[static_cast<size_t>(bad)],
                                              ", which holds the code 3; expected 0, 1 and 2"));
    }
    for (int64_t r = 0; r < rows; ++r) {
      DecodeGguf(tensor.type, tensor.bytes.data() + r * row_bytes, cols, row.data());
      int8_t* const q = codes_.q.data() + RowOfGguf(model_.config, parameter.name, r) * cols;
      for (int64_t c = 0; c < cols; ++c) {
        const float magnitude = std::fabs(row[c]);
        if (*scale == 0) *scale = magnitude;
        if (magnitude != 0 && magnitude != *scale) {  // also NaN
          return absl::FailedPreconditionError(absl::StrCat(
              Where(tensor.name), ", row ", r, ", column ", c, " is ", row[c], ", expected ",
              *scale, ", 0 or ", -*scale,
              ": the matrix is not ternary with one scale; quantise the model that it was trained "
              "as"));
        }
        q[c] = static_cast<int8_t>(row[c] > 0 ? 1 : row[c] < 0 ? -1 : 0);
      }
    }
    return absl::OkStatus();
  }

  const std::unique_ptr<GgufFile> file_;
  const GgufModel model_;
  TernaryCodes codes_;
  std::vector<float> buffer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> OpenGgufWeights(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, GgufFile::Open(env, path));
  ASSIGN_OR_RETURN(GgufModel model, ReadGgufModel(*file));
  auto source = std::make_unique<GgufWeights>(std::move(file), std::move(model));
  RETURN_IF_ERROR(source->CheckTensors());
  return std::unique_ptr<WeightSource>(std::move(source));
}

}  // namespace tritter
