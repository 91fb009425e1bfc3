// Between weights and packed models, in both directions.
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "model/master_weights.h"
#include "model/packed_tensor.h"
#include "model/serving/open_model.h"

namespace tritter {
namespace {

class PackedWeights final : public PackedModelFile {
 public:
  PackedWeights(std::unique_ptr<WeightSource> source, uint64_t bytes)
      : config_(source->config()), tokenizer_hash_(source->origin().tokenizer_hash), bytes_(bytes) {
    const WeightOrigin& from = source->origin();
    provenance_ = {from.run_id, from.step, from.checkpoint_hash, from.weights, kVersion};
    for (ParameterSpec& parameter : ParameterTable(config_)) {
      names_.push_back(parameter.name);
      parameters_[parameter.name] = std::move(parameter);
    }
    MutexLock lock(&mu_);
    source_ = std::move(source);
  }

  const ModelConfig& config() const override { return config_; }
  const std::string& tokenizer_hash() const override { return tokenizer_hash_; }
  const TpackProvenance& provenance() const override { return provenance_; }
  std::vector<std::string> names() const override { return names_; }
  uint64_t file_bytes() const override { return bytes_; }

  absl::StatusOr<TpackTensor> Get(const std::string& name) override {
    const auto parameter = parameters_.find(name);
    if (parameter == parameters_.end())
      return absl::NotFoundError(absl::StrCat("no tensor '", name, "' in this model"));
    MutexLock lock(&mu_);
    auto found = packed_.find(name);
    if (found == packed_.end()) {
      ASSIGN_OR_RETURN(TpackTensorToWrite tensor, PackTensor(source_.get(), parameter->second));
      found = packed_.emplace(name, std::move(tensor)).first;
    }
    const TpackTensorToWrite& t = found->second;
    return TpackTensor{
        t.name, t.shape, t.type,
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(t.data.data()), t.data.size()),
        t.scales};
  }

  absl::Status VerifyAll() override {
    for (const std::string& name : names_) RETURN_IF_ERROR(Get(name).status());
    return absl::OkStatus();
  }

 private:
  const ModelConfig config_;
  const std::string tokenizer_hash_;
  const uint64_t bytes_;
  TpackProvenance provenance_;
  std::vector<std::string> names_;
  std::map<std::string, ParameterSpec> parameters_;
  Mutex mu_;
  std::unique_ptr<WeightSource> source_ GUARDED_BY(mu_);
  std::map<std::string, TpackTensorToWrite> packed_ GUARDED_BY(mu_);  // nodes do not move
};

class WeightsOfPacked final : public WeightSource {
 public:
  explicit WeightsOfPacked(std::unique_ptr<PackedModelFile> file) : file_(std::move(file)) {
    const TpackProvenance& from = file_->provenance();
    origin_ = {from.run_id, from.step, from.weights, from.checkpoint_hash, file_->tokenizer_hash()};
  }
  const ModelConfig& config() const override { return file_->config(); }
  const WeightOrigin& origin() const override { return origin_; }

  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override {
    if (parameter.kind != ParameterKind::kTernary) {
      ASSIGN_OR_RETURN(const TpackTensor tensor, file_->Get(parameter.name));
      return PlainValues(tensor, &buffer_);
    }
    ASSIGN_OR_RETURN(const TernaryCodes* const codes, GetCodes(parameter));
    RETURN_IF_ERROR(
        Annotate(MasterWeights(*codes, parameter.shape[0], parameter.shape[1], &buffer_),
                 absl::StrCat("tensor ", parameter.name)));
    return absl::MakeConstSpan(buffer_);
  }

  absl::StatusOr<const TernaryCodes*> GetCodes(const ParameterSpec& parameter) override {
    ASSIGN_OR_RETURN(const TpackTensor tensor, file_->Get(parameter.name));
    RETURN_IF_ERROR(UnpackCodes(tensor, &codes_.q));
    codes_.scales.assign(tensor.scales.begin(), tensor.scales.end());
    return &codes_;
  }

 private:
  const std::unique_ptr<PackedModelFile> file_;
  WeightOrigin origin_;
  TernaryCodes codes_;
  std::vector<float> buffer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PackedModelFile>> PackWeights(std::unique_ptr<WeightSource> source,
                                                             uint64_t bytes) {
  RETURN_IF_ERROR(CheckPackable(source->config()));
  return std::unique_ptr<PackedModelFile>(new PackedWeights(std::move(source), bytes));
}

std::unique_ptr<WeightSource> WeightsOf(std::unique_ptr<PackedModelFile> file) {
  return std::make_unique<WeightsOfPacked>(std::move(file));
}

}  // namespace tritter
