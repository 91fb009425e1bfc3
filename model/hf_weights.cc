#include "model/hf_weights.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/checkpoint_weights.h"
#include "model/hf_format.h"
#include "model/hf_text.h"
#include "model/master_weights.h"
#include "model/tensor_values.h"
#include "model/text/tokenizer_files.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

const std::vector<DType>& FloatTypes() {
  static const auto* types = new std::vector<DType>{DType::kF32, DType::kBF16, DType::kF16};
  return *types;
}

class HfFolder : public WeightSource {
 public:
  static absl::StatusOr<std::unique_ptr<WeightSource>> Open(Env* env, const std::string& folder);
  const ModelConfig& config() const override { return hf_.model; }
  const WeightOrigin& origin() const override { return origin_; }

  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override {
    const std::string name = Name(parameter);
    ASSIGN_OR_RETURN(const TernaryCodes* const codes, GetCodes(parameter));
    if (codes != nullptr) {
      RETURN_IF_ERROR(
          Annotate(MasterWeights(*codes, parameter.shape[0], parameter.shape[1], &buffer_),
                   absl::StrCat(set_->PathOf(name), ": tensor `", name, "`")));
      return absl::MakeConstSpan(buffer_);
    }
    ASSIGN_OR_RETURN(const TensorView view, set_->Get(name));
    return FiniteFloats(view, set_->PathOf(name), name, &buffer_);
  }
  absl::StatusOr<const TernaryCodes*> GetCodes(const ParameterSpec& parameter) override {
    if (parameter.kind != ParameterKind::kTernary || hf_.weights == HfWeights::kPlain)
      return nullptr;
    RETURN_IF_ERROR(ReadCodes(Name(parameter), parameter));
    return &codes_;
  }

 private:
  absl::Status CheckTensors() const;
  absl::Status ReadOrigin(Env* env, const std::string& folder);
  std::string Name(const ParameterSpec& parameter) const {
    return HfTensorName(parameter.name, hf_.model.family);
  }
  absl::Status ReadScales(const std::string& name);
  absl::Status ReadCodes(const std::string& name, const ParameterSpec& parameter);

  HfConfig hf_;
  WeightOrigin origin_;
  std::unique_ptr<SafetensorsSet> set_;
  std::vector<float> buffer_;
  TernaryCodes codes_;
};

absl::Status HfFolder::CheckTensors() const {
  TensorNames names(set_.get());
  for (const ParameterSpec& parameter : ParameterTable(hf_.model)) {
    const std::string name = Name(parameter);
    if (parameter.kind != ParameterKind::kTernary || hf_.weights == HfWeights::kPlain) {
      RETURN_IF_ERROR(names.Expect(name, FloatTypes(), parameter.shape));
      continue;
    }
    const std::string scale = HfScaleName(name);
    const absl::StatusOr<TensorView> given = set_->Get(scale);
    const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
    std::vector<int64_t> shape = {1};
    if (given.ok() && given->shape.empty()) shape = {};
    if (hf_.model.granularity == ScaleGranularity::kRow) shape = {rows};
    RETURN_IF_ERROR(names.Expect(scale, FloatTypes(), shape));
    const absl::StatusOr<TensorView> codes = set_->Get(name);
    // The library writes a model back that it has unpacked: -1, 0 and 1 as floats.
    if (codes.ok() && codes->dtype != DType::kU8) {
      RETURN_IF_ERROR(names.Expect(name, FloatTypes(), parameter.shape));
    } else if (rows % 4 != 0) {
      return absl::DataLossError(absl::StrCat(set_->PathOf(name), ": tensor `", name, "` of ", rows,
                                              " rows cannot be packed, expected a multiple of 4"));
    } else {
      RETURN_IF_ERROR(names.Expect(name, {DType::kU8}, {rows / 4, cols}));
    }
  }
  // Some writers store the tied head a second time.
  constexpr char kHead[] = "lm_head.weight", kEmbedding[] = "model.embed_tokens.weight";
  if (hf_.model.tied_embeddings && set_->Has(kHead)) {
    ASSIGN_OR_RETURN(const TensorView head, set_->Get(kHead));
    ASSIGN_OR_RETURN(const TensorView embedding, set_->Get(kEmbedding));
    RETURN_IF_ERROR(names.Expect(kHead, {embedding.dtype}, embedding.shape));
    if (!std::equal(head.bytes.begin(), head.bytes.end(), embedding.bytes.begin())) {
      return absl::DataLossError(
          absl::StrCat(set_->PathOf(kHead), ": tensor `", kHead, "` differs from `", kEmbedding,
                       "`, expected the same: config.json says tie_word_embeddings"));
    }
  }
  return names.Finish();
}

absl::Status HfFolder::ReadScales(const std::string& name) {
  ASSIGN_OR_RETURN(const TensorView view, set_->Get(name));
  ASSIGN_OR_RETURN(const absl::Span<const float> given,
                   FiniteFloats(view, set_->PathOf(name), name, &buffer_));
  codes_.scales.assign(given.begin(), given.end());
  for (size_t i = 0; i < codes_.scales.size(); ++i) {
    float& scale = codes_.scales[i];
    if (hf_.weights == HfWeights::kPackedInverseScale) scale = 1.0f / scale;
    if (std::isfinite(scale) && scale > 0) continue;
    return absl::FailedPreconditionError(absl::StrCat(set_->PathOf(name), ": tensor `", name,
                                                      "`, element ", i, " is ", given[i],
                                                      ", expected a scale above 0"));
  }
  return absl::OkStatus();
}

absl::Status HfFolder::ReadCodes(const std::string& name, const ParameterSpec& parameter) {
  const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
  const std::string where = absl::StrCat(set_->PathOf(name), ": tensor `", name, "`");
  RETURN_IF_ERROR(ReadScales(HfScaleName(name)));
  ASSIGN_OR_RETURN(const TensorView view, set_->Get(name));
  std::vector<int8_t>& q = codes_.q;
  q.resize(rows * cols);
  if (view.dtype == DType::kU8) {
    int64_t bad = 0;
    if (HfUnpack(view.bytes.data(), rows, cols, q.data(), &bad)) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat(where, ": byte ", bad, " is ", view.bytes[bad],
                     ", which holds the code 3; expected 0, 1 and 2 (-1, 0 and +1)"));
  }
  ASSIGN_OR_RETURN(const absl::Span<const float> values,
                   FiniteFloats(view, set_->PathOf(name), name, &buffer_));
  for (size_t i = 0; i < q.size(); ++i) {
    if (values[i] != -1 && values[i] != 0 && values[i] != 1) {
      return absl::DataLossError(absl::StrCat(where, ": element ", i, " is ", values[i],
                                              ", expected -1, 0 or 1 beside a weight_scale"));
    }
    q[i] = static_cast<int8_t>(values[i]);
  }
  return absl::OkStatus();
}

// What an export of ours says of itself; of others the name of the folder.
absl::Status HfFolder::ReadOrigin(Env* env, const std::string& folder) {
  const auto metadata = [&](const std::string& key, absl::string_view otherwise) {
    const auto found = set_->metadata().find(key);
    return found == set_->metadata().end() ? std::string(otherwise) : found->second;
  };
  origin_.run_id = metadata("run_id", "imported");
  origin_.weights = metadata("weights", "raw");
  const std::string step = metadata("step", "0");
  if (!absl::SimpleAtoi(step, &origin_.step) || origin_.step < 0) {
    return absl::DataLossError(absl::StrCat(set_->path(), ": metadata `step` is '", step,
                                            "', expected a whole number from 0"));
  }
  origin_.tokenizer_hash = metadata(kTokenizerHashKey, ByteTokenizer().hash());
  const std::string path = JoinPath(folder, "tokenizer.json");
  if (!env->Exists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string tokenizer, env->ReadFile(path));
  origin_.tokenizer_hash = HashOfTokenizerJson(tokenizer);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<WeightSource>> HfFolder::Open(Env* env, const std::string& folder) {
  const std::string config_path = JoinPath(folder, "config.json");
  if (!env->Exists(config_path)) {
    return absl::NotFoundError(absl::StrCat(
        config_path, ": missing; expected a Hugging Face folder with config.json and weights"));
  }
  auto out = std::make_unique<HfFolder>();
  ASSIGN_OR_RETURN(const std::string text, env->ReadFile(config_path));
  ASSIGN_OR_RETURN(out->hf_, ParseHfConfig(text, config_path));
  const std::string single = JoinPath(folder, "model.safetensors"),
                    index = JoinPath(folder, std::string("model") + kSafetensorsIndexEnding);
  if (!env->Exists(single) && !env->Exists(index)) {
    return absl::NotFoundError(absl::StrCat(single, ": missing, and so is ", Basename(index),
                                            "; expected one of the two (weights in other "
                                            "containers are not read)"));
  }
  ASSIGN_OR_RETURN(out->set_, SafetensorsSet::Open(env, env->Exists(single) ? single : index));
  RETURN_IF_ERROR(out->CheckTensors());
  RETURN_IF_ERROR(out->ReadOrigin(env, folder));
  return std::unique_ptr<WeightSource>(std::move(out));
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> OpenHfWeights(Env* env, const std::string& folder) {
  return HfFolder::Open(env, folder);
}

}  // namespace tritter
