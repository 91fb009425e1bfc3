// A ModelLoader over tiny random models in memory: the path's name chooses the seed or the failure.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "inference/model_registry.h"
#include "inference/testing/tiny_models.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {

// Thread-safe. "missing…" is NotFound, "broken…" fails to load; any other path is a model whose
// weights depend on the path alone ("tiny.tpack": seed 5).
class FakeModelLoader : public ModelLoader {
 public:
  explicit FakeModelLoader(EngineOptions options = {}, ModelBytes bytes = {1000, 100})
      : options_(options), bytes_(bytes) {}

  absl::StatusOr<ModelBytes> Measure(const std::string& path) override {
    if (absl::StartsWith(Basename(path), "missing"))
      return absl::NotFoundError(absl::StrCat(path, ": no such file"));
    return bytes_;
  }
  absl::StatusOr<std::unique_ptr<Engine>> Load(const std::string&,
                                               const std::string& path) override {
    if (absl::StartsWith(Basename(path), "broken"))
      return absl::DataLossError(absl::StrCat(path, ": checksum"));
    return Engine::Create(
        MemoryTpack::Random(TinyConfig(), path == "tiny.tpack" ? 5 : HashString(path)), options_);
  }

 private:
  const EngineOptions options_;
  const ModelBytes bytes_;
};

}  // namespace tritter
