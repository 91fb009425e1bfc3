// A ModelLoader over tiny random models in memory: the path's name chooses the seed or the failure.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/mutex.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "inference/model_registry.h"
#include "inference/testing/tiny_models.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {

// What models named "chat…" take; refuses two questions in a row.
inline constexpr char kFakeChat[] =
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' and loop.index0 > 0 and "
    "messages[loop.index0 - 1].role == 'user' %}{{ raise_exception('two questions in a row') }}"
    "{% endif %}{{ m.role[0] ~ m.content ~ end|default(';') }}{% endfor %}"
    "{% if add_generation_prompt %}a{% endif %}";

// Thread-safe. "missing…" is NotFound, "broken…" fails to load; any other path is a model whose
// weights depend on the path alone ("tiny.tpack": seed 5).
class FakeModelLoader : public ModelLoader {
 public:
  explicit FakeModelLoader(EngineOptions options = {}, ModelBytes bytes = {1000, 80, 20})
      : options_(options), bytes_(bytes) {}

  absl::StatusOr<OpenedModel> Open(const std::string& path) override {
    if (absl::StartsWith(Basename(path), "missing"))
      return absl::NotFoundError(absl::StrCat(path, ": no such file"));
    return OpenedModel{
        path,
        MemoryTpack::Random(TinyConfig(), path == "tiny.tpack" ? 5 : HashString(path)),
        {},
        bytes_};
  }
  absl::StatusOr<LoadedModel> Load(const std::string&, OpenedModel opened) override {
    const std::string& path = opened.path;
    if (absl::StartsWith(Basename(path), "broken"))
      return absl::DataLossError(absl::StrCat(path, ": checksum"));
    LoadedModel model;
    ASSIGN_OR_RETURN(model.engine, Engine::Create(std::move(opened.file), opened.plan, options_));
    if (absl::StartsWith(Basename(path), "chat")) model.chat = ChatPrompts(kFakeChat, "<s>", "");
    return model;
  }

 private:
  const EngineOptions options_;
  const ModelBytes bytes_;
};

// Loads nothing before Open.
class HeldModelLoader final : public FakeModelLoader {
 public:
  using FakeModelLoader::Open;
  absl::StatusOr<LoadedModel> Load(const std::string& name, OpenedModel opened) override {
    {
      MutexLock lock(&mu_);
      reached_ = true;
      changed_.NotifyAll();
      while (!open_) changed_.Wait(&mu_);
    }
    return FakeModelLoader::Load(name, std::move(opened));
  }
  void AwaitLoad() {
    MutexLock lock(&mu_);
    while (!reached_) changed_.Wait(&mu_);
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool reached_ GUARDED_BY(mu_) = false, open_ GUARDED_BY(mu_) = false;
};

}  // namespace tritter
