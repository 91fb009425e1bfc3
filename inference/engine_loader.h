// Models of files, with the options the server was started with.
#pragma once

#include <memory>
#include <string>

#include "inference/model_registry.h"
#include "monitoring/registry.h"

namespace tritter {

struct EngineLoaderOptions {
  EngineOptions engine;
  bool verify = false;    // every tensor's checksum
  std::string tokenizer;  // "": looked for beside each model
};

// Thread-safe. The metric registry (null: no metrics) must outlive it and its engines.
class EngineLoader final : public ModelLoader {
 public:
  EngineLoader(EngineLoaderOptions options, Registry* metrics)
      : options_(options), metrics_(metrics) {}

  absl::StatusOr<OpenedModel> Open(const std::string& path) override;
  absl::StatusOr<LoadedModel> Load(const std::string& name, OpenedModel opened) override;
  void OnReady(const std::string& name, Engine* engine) override;

 private:
  const EngineLoaderOptions options_;
  Registry* const metrics_;
};

}  // namespace tritter
