#include "model/start_checkpoint.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/reference/moment_map.h"
#include "model/checkpoint_tensors.h"
#include "model/checkpoint_weights.h"
#include "model/parameter_groups.h"
#include "model/safetensors.h"

namespace tritter {
namespace {

constexpr char kShare[] = "share-0-of-1.safetensors";
constexpr uint8_t kSignedZero = 127;  // code of the signed moment map, kernels/reference

// Lists the tensors of a state without steps, in the order in which trainers write them.
class StartTensors {
 public:
  StartTensors(const CheckpointTensors* origin, bool averaged)
      : origin_(origin), weights_(averaged ? "ema/" : "weight/") {}

  void Add(const ParameterSpec& parameter, const ParameterGroup& group) {
    int64_t size = 1;
    for (const int64_t n : parameter.shape) size *= n;
    Copy("weight/", weights_, parameter);
    if (group.moments_8bit) {
      const std::vector<int64_t> blocks = {MomentBlocks(size)};
      Fill("adam_m_codes/", parameter, DType::kU8, parameter.shape, size, kSignedZero);
      Fill("adam_m_scales/", parameter, DType::kF32, blocks, blocks[0], 0);
      Fill("adam_root_v_codes/", parameter, DType::kU8, parameter.shape, size, 0);
      Fill("adam_root_v_scales/", parameter, DType::kF32, blocks, blocks[0], 0);
    } else {
      const bool muon = group.optimizer == OptimizerKind::kMuon;
      Fill(muon ? "muon_m/" : "adam_m/", parameter, DType::kF32, parameter.shape, size, 0);
      if (!muon) Fill("adam_v/", parameter, DType::kF32, parameter.shape, size, 0);
    }
    Copy("ema/", "ema/", parameter);
  }
  const std::vector<TensorToWrite>& list() const { return list_; }

 private:
  using Bytes = absl::StatusOr<absl::Span<const uint8_t>>;

  void Copy(const char* prefix, std::string from, const ParameterSpec& parameter) {
    list_.push_back({prefix + parameter.name,
                     DType::kF32,
                     parameter.shape,
                     {},
                     [this, from = std::move(from), parameter]() -> Bytes {
                       ASSIGN_OR_RETURN(const absl::Span<const float> values,
                                        origin_->Get(from, parameter));
                       return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values.data()),
                                                  values.size() * sizeof(float));
                     }});
  }
  void Fill(const char* prefix, const ParameterSpec& parameter, DType type,
            std::vector<int64_t> shape, int64_t count, uint8_t byte) {
    const size_t bytes = static_cast<size_t>(count * DTypeBytes(type));
    list_.push_back(
        {prefix + parameter.name, type, std::move(shape), {}, [this, bytes, byte]() -> Bytes {
           filled_.assign(bytes, byte);
           return absl::MakeConstSpan(filled_);
         }});
  }

  const CheckpointTensors* const origin_;
  const std::string weights_;
  std::vector<TensorToWrite> list_;
  std::vector<uint8_t> filled_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CheckpointReader>> WriteStartCheckpoint(
    const CheckpointReader& origin, bool averaged, const RunSpec& spec, CheckpointManifest manifest,
    CheckpointStore* to) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointTensors> there, CheckpointTensors::Open(origin));
  StartTensors tensors(there.get(), averaged);
  for (const ParameterSpec& parameter : ParameterTable(spec.model))
    tensors.Add(parameter, GroupOf(spec, parameter));
  manifest.step = manifest.next_slot = 0;
  const CheckpointAttempt attempt{manifest.step, manifest.attempt};
  RETURN_IF_ERROR(to->Begin(attempt));
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, to->Put(attempt, kShare));
  std::map<std::string, std::string> metadata = {{"step", "0"}};
  if (const std::string hash = there->Metadata(kTokenizerHashKey); !hash.empty())
    metadata[kTokenizerHashKey] = hash;
  ASSIGN_OR_RETURN(const WrittenFile written,
                   WriteSafetensors(file.get(), absl::StrCat(to->location(), "/", kShare),
                                    tensors.list(), metadata));
  manifest.files = {{kShare, written.bytes, written.sha256}};
  return to->Commit(manifest);
}

}  // namespace tritter
