// A packed model that lives in memory: the engine's tests need no file.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "model/tpack.h"

namespace tritter {

class MemoryTpack : public PackedModelFile {
 public:
  MemoryTpack(ModelConfig config, std::string tokenizer_hash)
      : config_(std::move(config)), tokenizer_hash_(std::move(tokenizer_hash)) {}
  // A random model (RandomTensor) with the byte tokenizer, or the one with this hash.
  static std::unique_ptr<MemoryTpack> Random(const ModelConfig& config, uint64_t seed,
                                             const std::string& tokenizer_hash = "");

  void Add(TpackTensorToWrite tensor);  // replaces one of the same name
  void Remove(const std::string& name) { tensors_.erase(name); }

  const ModelConfig& config() const override { return config_; }
  const std::string& tokenizer_hash() const override { return tokenizer_hash_; }
  const TpackProvenance& provenance() const override { return provenance_; }
  std::vector<std::string> names() const override;
  absl::StatusOr<TpackTensor> Get(const std::string& name) override;
  absl::Status VerifyAll() override { return absl::OkStatus(); }
  uint64_t file_bytes() const override;

 private:
  ModelConfig config_;
  std::string tokenizer_hash_;
  TpackProvenance provenance_;
  std::map<std::string, TpackTensorToWrite> tensors_;
};

}  // namespace tritter
