#include "inference/model_registry.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/log.h"
#include "common/rooted_env.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr absl::Duration kWarmUpLimit = absl::Seconds(60);
constexpr double kSlowestDisk = 10e6;  // bytes a second, of what is streamed in the warm-up
constexpr const char* kEndings[] = {"", ".tpack", ".gguf"};

// Touches the weights that a first request would wait for, and shows that the model can answer.
absl::Status WarmUp(Engine* engine) {
  GenerateParams params;
  params.prompt = {engine->tokenizer().bos_id().value_or(0)};
  params.max_tokens = 1;
  params.ignore_eos = true;
  const int64_t streamed = engine->stream_stats().bytes_per_pass;
  const absl::Duration limit =
      kWarmUpLimit + absl::Seconds(static_cast<double>(streamed) / kSlowestDisk);
  params.timeout = limit;
  ASSIGN_OR_RETURN(std::unique_ptr<Generation> generation, engine->Generate(std::move(params)));
  GenerateEvent event;
  do {
    generation->Next(absl::InfiniteDuration(), &event);
  } while (event.finish == FinishReason::kNone);
  if (event.finish == FinishReason::kFailed) return event.error;
  if (event.finish == FinishReason::kDeadline) {
    return absl::DeadlineExceededError(
        absl::StrCat("one token took more than ", absl::FormatDuration(limit), " in the warm-up"));
  }
  return absl::OkStatus();
}

bool HasEnded(const std::future<absl::Status>& load) {
  return load.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

const char* ModelStateName(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return "LOADING";
    case ModelState::kReady:
      return "READY";
    case ModelState::kUnloading:
      return "UNLOADING";
    case ModelState::kUnavailable:
      break;
  }
  return "UNAVAILABLE";
}

std::string ModelRegistry::ServedNamesLocked() const {
  std::string names;
  for (const auto& [name, slot] : slots_) {
    if (slot.serving != nullptr)
      absl::StrAppend(&names, names.empty() ? "" : ", ", "\"", name, "\"");
  }
  return names;
}

absl::StatusOr<ServedModelPtr> ModelRegistry::Find(const std::string& name,
                                                   const std::string& version) const {
  MutexLock lock(&mu_);
  ServedModelPtr found;
  if (name.empty()) {
    for (const auto& [other, slot] : slots_) {
      if (slot.serving == nullptr) continue;
      if (found != nullptr) {
        return absl::InvalidArgumentError(absl::StrCat(
            "model is empty and several are served: ", ServedNamesLocked(), "; name one of them"));
      }
      found = slot.serving;
    }
  } else if (const auto slot = slots_.find(name); slot != slots_.end()) {
    found = slot->second.serving;
    if (found == nullptr && slot->second.loading) {
      return absl::UnavailableError(
          absl::StrCat("model \"", name, "\" is being loaded; try again in a moment"));
    }
  }
  if (found == nullptr) {
    const std::string names = ServedNamesLocked();
    if (names.empty()) return absl::NotFoundError("no model is served at the moment");
    return absl::NotFoundError(absl::StrCat("model \"", name, "\" is not served here, ", names,
                                            absl::StrContains(names, ", ") ? " are" : " is"));
  }
  if (!version.empty() && version != absl::StrCat(found->version)) {
    return absl::NotFoundError(absl::StrCat("version \"", version, "\" of model \"", found->name,
                                            "\" is not served here, \"", found->version,
                                            "\" is; leave it empty for the newest"));
  }
  return found;
}

absl::Status ModelRegistry::CheckFitsLocked(const std::string& name, const std::string& path,
                                            const ModelBytes& bytes) const {
  int64_t held = 0;
  std::string holders;
  const auto hold = [&](const std::string& who, int64_t count, const char* why) {
    held += count;
    absl::StrAppend(&holders, holders.empty() ? "" : ", ", who, " ", count, why);
  };
  for (const auto& [other, slot] : slots_) {
    if (slot.serving != nullptr) hold(other, slot.serving->bytes.total(), "");
    if (slot.loading) hold(other, slot.loading_bytes.total(), " (loading)");
    for (const Retired& old : slot.retired) {
      if (!old.gone()) hold(other, old.bytes, " (until its last requests end)");
    }
  }
  if (options_.max_bytes == 0 || bytes.total() <= options_.max_bytes - held)
    return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "model \"", name, "\" of ", path, " needs ", bytes.total(), " bytes = ", bytes.weights,
      " of weights + ", bytes.kv_cache, " of KV cache + ", bytes.activations, " of activations, ",
      std::max<int64_t>(0, options_.max_bytes - held), " of the ", options_.max_bytes,
      " allowed are left", holders.empty() ? "" : absl::StrCat(" (", holders, " bytes are taken)"),
      "; ", holders.empty() ? "" : "unload a model first, ",
      bytes.kv_cache == 0 ? "lower --max-batch or --prefill-chunk, or raise --max-memory to "
                          : "lower --max-kv-memory, --max-batch or --prefill-chunk, stream layers "
                            "from disk with --max-weight-memory, or raise --max-memory to ",
      held + bytes.total()));
}

absl::StatusOr<ServedModelPtr> ModelRegistry::LoadVersion(const std::string& name, int64_t version,
                                                          OpenedModel opened) {
  auto model = std::make_shared<ServedModel>();
  model->name = name;
  model->version = version;
  model->path = opened.path;
  model->bytes = opened.bytes;
  ASSIGN_OR_RETURN(LoadedModel loaded, loader_->Load(name, std::move(opened)));
  model->engine = std::move(loaded.engine);
  model->chat = std::move(loaded.chat);
  RETURN_IF_ERROR(Annotate(WarmUp(model->engine.get()), absl::StrCat("warm-up of ", model->path)));
  loader_->OnReady(name, model->engine.get());
  model->loaded_unix_seconds = absl::ToUnixSeconds(options_.clock->Now());
  return model;
}

absl::Status ModelRegistry::Load(const std::string& name, const std::string& path,
                                 const std::function<bool()>& cancelled) {
  const auto given_up = std::make_shared<std::atomic<bool>>(false);
  std::future<absl::Status> load;
  try {
    load = std::async(std::launch::async,
                      [this, name, path, given_up] { return LoadNow(name, path, *given_up); });
  } catch (const std::system_error& error) {  // the one way in which it says so
    return absl::ResourceExhaustedError(absl::StrCat(
        "the system gives no thread to load model \"", name, "\" of ", path, " (", error.what(),
        "); try again, or raise the limit of processes (ulimit -u, pids.max)"));
  }
  while (load.wait_for(absl::ToChronoMilliseconds(kCancelPoll)) != std::future_status::ready) {
    if (cancelled == nullptr || !cancelled()) continue;
    *given_up = true;
    MutexLock lock(&mu_);
    std::erase_if(abandoned_, &HasEnded);
    abandoned_.push_back(std::move(load));
    return absl::CancelledError(
        absl::StrCat("loading model \"", name, "\" of ", path, " was given up"));
  }
  return load.get();
}

bool ModelRegistry::HasAbandonedLoad() const {
  MutexLock lock(&mu_);
  return !std::all_of(abandoned_.begin(), abandoned_.end(), &HasEnded);
}

absl::Status ModelRegistry::LoadNow(const std::string& name, const std::string& path,
                                    const std::atomic<bool>& given_up) {
  ASSIGN_OR_RETURN(OpenedModel opened, loader_->Open(path));
  int64_t version = 0;
  {
    MutexLock lock(&mu_);
    const auto known = slots_.find(name);
    if (known != slots_.end() && known->second.loading) {
      return absl::AbortedError(absl::StrCat("model \"", name, "\" is being loaded from ",
                                             known->second.path, " already; wait for its end"));
    }
    if (absl::Status fits = CheckFitsLocked(name, path, opened.bytes); !fits.ok()) {
      if (known != slots_.end()) known->second.reason = std::string(fits.message());
      return fits;
    }
    Slot& slot = slots_[name];
    slot.loading = true;
    slot.loading_bytes = opened.bytes;
    slot.path = path;
    slot.reason.clear();
    version = ++slot.versions;
  }
  absl::StatusOr<ServedModelPtr> model = LoadVersion(name, version, std::move(opened));
  if (model.ok() && given_up) model = absl::CancelledError("the load was given up");
  ServedModelPtr old;  // destroyed without the lock: that may take a while
  {
    MutexLock lock(&mu_);
    Slot& slot = slots_[name];
    slot.loading = false;
    if (!model.ok()) {
      slot.reason = std::string(model.status().message());
    } else {
      old = std::exchange(slot.serving, *std::move(model));
      if (old != nullptr) slot.retired.push_back({old, old->bytes.total()});
    }
    std::erase_if(slot.retired, [](const Retired& retired) { return retired.gone(); });
  }
  if (!model.ok()) {
    LogWarning("model_not_loaded", {{"model", name}, {"error", model.status().ToString()}});
    return model.status();
  }
  LogInfo("model_ready", {{"model", name},
                          {"version", version},
                          {"path", path},
                          {"replaces", old == nullptr ? 0 : old->version}});
  return absl::OkStatus();
}

absl::StatusOr<std::string> ModelRegistry::PathInRoot(const std::string& name) const {
  if (options_.root.empty()) {
    return absl::FailedPreconditionError(
        "models are neither loaded nor unloaded by clients here; start the server with "
        "--model-root FOLDER to allow it below that folder");
  }
  // No separators and no leading dot: what is named cannot be outside the root.
  if (name.empty() || name[0] == '.' || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model name \"", name, "\" is not the plain name of a file or folder in --model-root"));
  }
  for (const char* ending : kEndings) {
    const std::string path = JoinPath(options_.root, absl::StrCat(name, ending));
    if (!options_.env->Exists(path)) continue;
    ASSIGN_OR_RETURN(const std::string root, RealPath(options_.root));
    ASSIGN_OR_RETURN(const std::string real, RealPath(path));
    if (IsBelow(real, {root})) return path;
    return absl::PermissionDeniedError(
        absl::StrCat(path, " leads to ", real, ", outside --model-root ", options_.root,
                     "; put the model itself there, or give another root"));
  }
  return absl::NotFoundError(absl::StrCat("--model-root ", options_.root, " has neither ", name,
                                          " nor ", name, ".tpack nor ", name, ".gguf"));
}

absl::Status ModelRegistry::LoadFromRoot(const std::string& name,
                                         const std::function<bool()>& cancelled) {
  ASSIGN_OR_RETURN(const std::string path, PathInRoot(name));
  return Load(name, path, cancelled);
}

absl::Status ModelRegistry::UnloadFromRoot(const std::string& name) {
  if (options_.root.empty()) return PathInRoot(name).status();
  ServedModelPtr old;
  {
    MutexLock lock(&mu_);
    const auto slot = slots_.find(name);
    if (slot == slots_.end() || slot->second.serving == nullptr) {
      return absl::NotFoundError(absl::StrCat("model \"", name, "\" is not loaded"));
    }
    old = std::exchange(slot->second.serving, nullptr);
    slot->second.retired.push_back({old, old->bytes.total()});
    slot->second.reason = "unloaded";
  }
  LogInfo("model_unloaded", {{"model", name}, {"version", old->version}});
  return absl::OkStatus();
}

std::vector<ModelEntry> ModelRegistry::List() const {
  std::map<std::string, ModelEntry> entries;
  if (!options_.root.empty()) {
    const auto names = options_.env->ListDir(options_.root);
    for (const std::string& file : names.ok() ? *names : std::vector<std::string>()) {
      if (file[0] == '.') continue;
      const std::string path = JoinPath(options_.root, file);
      absl::string_view name = file;
      const bool is_file =
          absl::ConsumeSuffix(&name, ".tpack") || absl::ConsumeSuffix(&name, ".gguf");
      if (name.empty() || (!is_file && !options_.env->Exists(JoinPath(path, "config.json"))))
        continue;
      entries[std::string(name)] = {std::string(name), 0, path, ModelState::kUnavailable,
                                    "not loaded"};
    }
  }
  MutexLock lock(&mu_);
  for (const auto& [name, slot] : slots_) {
    const bool unloading = std::any_of(slot.retired.begin(), slot.retired.end(),
                                       [](const Retired& old) { return !old.gone(); });
    ModelEntry& entry = entries[name];
    entry.name = name;
    entry.path = slot.serving != nullptr ? slot.serving->path : slot.path;
    entry.version = slot.serving != nullptr ? slot.serving->version : slot.versions;
    entry.reason = slot.reason;
    entry.state = slot.serving != nullptr ? ModelState::kReady
                  : slot.loading          ? ModelState::kLoading
                  : unloading             ? ModelState::kUnloading
                                          : ModelState::kUnavailable;
  }
  std::vector<ModelEntry> list;
  for (auto& [name, entry] : entries) list.push_back(std::move(entry));
  return list;
}

}  // namespace tritter
