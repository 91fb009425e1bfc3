#include "tests/testing/memory_tpack.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/tokenizer.h"
#include "model/tpack_format.h"
#include "tests/testing/random_tensor.h"

namespace tritter {

std::unique_ptr<MemoryTpack> MemoryTpack::Random(const ModelConfig& config, uint64_t seed,
                                                 const std::string& tokenizer_hash) {
  auto file = std::make_unique<MemoryTpack>(
      config, tokenizer_hash.empty() ? ByteTokenizer().hash() : tokenizer_hash);
  for (const ParameterSpec& spec : ParameterTable(config))
    file->Add(RandomTensor(config, spec, seed));
  return file;
}

void MemoryTpack::Add(TpackTensorToWrite tensor) {
  const std::string name = tensor.name;
  tensors_[name] = std::move(tensor);
}

std::vector<std::string> MemoryTpack::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

absl::StatusOr<TpackTensor> MemoryTpack::Get(const std::string& name) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return absl::NotFoundError(absl::StrCat("no tensor ", name));
  const TpackTensorToWrite& t = found->second;
  const TpackTensor tensor = {
      t.name, t.shape, t.type,
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(t.data.data()), t.data.size()),
      t.scales};
  RETURN_IF_ERROR(VerifyTensorValues(tensor, "memory"));
  return tensor;
}

uint64_t MemoryTpack::file_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors_)
    bytes += tensor.data.size() + tensor.scales.size() * sizeof(float);
  return bytes;
}

}  // namespace tritter
