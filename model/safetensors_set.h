// The tensors of one model in one safetensors file, or in several with an index beside them: the
// form of the Hugging Face libraries.
//   <stem>.safetensors
//   <stem>-00001-of-00003.safetensors …, <stem>.safetensors.index.json:
//     {"metadata": {"total_size": bytes of all tensors}, "weight_map": {tensor: file}}
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/env.h"
#include "model/safetensors.h"

namespace tritter {

inline constexpr char kSafetensorsIndexEnding[] = ".safetensors.index.json";
inline constexpr uint64_t kDefaultMaxShardBytes = 5'000'000'000;  // what the field uses

// Memory-mapped and checked: the index names every tensor once, each is in the file it names, no
// file holds another one, total_size is the sum, and no two files contradict each other in their
// metadata. Thread-safe once open.
class SafetensorsSet {
 public:
  // `path`: a .safetensors file or an index. Errors: those of the files; DataLoss naming file,
  // tensor, actual and expected.
  static absl::StatusOr<std::unique_ptr<SafetensorsSet>> Open(Env* env, const std::string& path);

  std::vector<std::string> names() const;  // sorted
  bool Has(const std::string& name) const { return files_.count(name) != 0; }
  absl::StatusOr<TensorView> Get(const std::string& name) const;  // NotFound
  const std::string& PathOf(const std::string& name) const;       // the file a tensor lies in
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return path_; }
  std::vector<std::string> files() const;  // paths, without the index

 private:
  SafetensorsSet() = default;
  absl::Status Add(Env* env, const std::string& path);
  absl::Status CheckIndex(Env* env);

  std::string path_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> opened_;  // by path
  std::map<std::string, std::string> files_;                        // tensor -> path
  std::map<std::string, std::string> metadata_;
};

struct WrittenSetFile {
  std::string name;  // in the folder
  uint64_t bytes;
  std::string sha256;
};
// Writes the tensors into `folder`, in their order: one file, or, where they have more bytes than
// `max_shard_bytes`, shards of at most that many (a larger tensor has one of its own) and the
// index, which comes last. Errors: those of WriteSafetensors.
absl::StatusOr<std::vector<WrittenSetFile>> WriteSafetensorsSet(
    Env* env, const std::string& folder, const std::string& stem,
    absl::Span<const TensorToWrite> tensors, const std::map<std::string, std::string>& metadata,
    uint64_t max_shard_bytes);

}  // namespace tritter
