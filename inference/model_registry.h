// The models a server serves, by name: loading a new version beside the one at work, swapping it in
// for new requests, and letting the old one go with its last request. Knows no RPC.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "common/mutex.h"
#include "inference/engine.h"
#include "model/text/chat_prompts.h"

namespace tritter {

// Bytes that a model takes while it is loaded.
struct ModelBytes {
  int64_t weights = 0, kv_cache = 0, activations = 0;
  int64_t total() const { return weights + kv_cache + activations; }
};

// A file that was opened and looked at; no tensor of it has been read.
struct OpenedModel {
  std::string path;
  std::unique_ptr<PackedModelFile> file;
  LoadPlan plan;
  ModelBytes bytes;
};

struct LoadedModel {
  std::unique_ptr<Engine> engine;
  ChatPrompts chat;
};

// How a path becomes an engine. Thread-safe.
class ModelLoader {
 public:
  virtual ~ModelLoader() = default;
  // Errors: those of the file (NotFound, DataLoss …) and of PlanLoad.
  virtual absl::StatusOr<OpenedModel> Open(const std::string& path) = 0;
  // Errors: those of the file and of Engine::Create.
  virtual absl::StatusOr<LoadedModel> Load(const std::string& name, OpenedModel opened) = 0;
  // After the warm-up, before the first request: from now on the engine may report what it does.
  virtual void OnReady(const std::string& name, Engine* engine) {}
};

// One loaded version. Whoever serves a request holds it until the request has ended; the last
// holder destroys the engine.
struct ServedModel {
  std::string name;
  int64_t version = 0;  // counts the loads of this name, from 1
  std::string path;
  ModelBytes bytes;
  int64_t loaded_unix_seconds = 0;
  std::unique_ptr<Engine> engine;
  ChatPrompts chat;
};
using ServedModelPtr = std::shared_ptr<ServedModel>;

enum class ModelState {
  kLoading,      // no version serves yet
  kReady,        // new requests are taken
  kUnloading,    // its last requests are being finished
  kUnavailable,  // failed to load, unloaded, or never asked for
};
const char* ModelStateName(ModelState state);  // LOADING, READY, UNLOADING, UNAVAILABLE

struct ModelEntry {
  std::string name;
  int64_t version = 0;  // 0: never loaded
  std::string path;
  ModelState state = ModelState::kUnavailable;
  std::string reason;  // why it is not ready, or why the last attempt to replace it failed
};

struct ModelRegistryOptions {
  int64_t max_bytes = 0;  // all versions in memory together; 0: no limit is known
  std::string root;       // folder from which models are loaded by name; "": none
  Env* env = Env::Real();
  Clock* clock = Clock::Real();
};

// Thread-safe. Loading blocks its caller and nobody else. Destruction waits for loads that were
// given up.
class ModelRegistry {
 public:
  // The loader must outlive the registry and every ServedModelPtr.
  ModelRegistry(ModelLoader* loader, ModelRegistryOptions options)
      : loader_(loader), options_(std::move(options)) {}

  // The version that new requests go to. An empty name: the only model served; an empty version:
  // the one that serves. Errors: NotFound saying what is served; InvalidArgument for an empty name
  // among several; Unavailable while the first version is loading.
  absl::StatusOr<ServedModelPtr> Find(const std::string& name,
                                      const std::string& version = "") const;

  // Loads, warms up with one short generation, and swaps. What served under the name goes on when
  // this fails. `cancelled` (null: never) is asked every few milliseconds; the load is then given
  // up: it goes on behind the scenes, since reading and packing cannot be interrupted, and what
  // comes of it is thrown away. Errors: Cancelled when given up; ResourceExhausted with the
  // arithmetic when the new version does not fit beside what is loaded; Aborted while the same name
  // is being loaded; those of the loader.
  absl::Status Load(const std::string& name, const std::string& path,
                    const std::function<bool()>& cancelled = nullptr);
  // As Load, of NAME, NAME.tpack or NAME.gguf in the root. Errors also: FailedPrecondition without
  // a root; InvalidArgument for a name that is no plain file name; PermissionDenied for a symbolic
  // link that leads out of the root; NotFound.
  absl::Status LoadFromRoot(const std::string& name,
                            const std::function<bool()>& cancelled = nullptr);
  // Takes no new requests; those at work are finished. Errors: NotFound; FailedPrecondition without
  // a root.
  absl::Status UnloadFromRoot(const std::string& name);

  // What is or was loaded, and what the root holds beside it; by name.
  std::vector<ModelEntry> List() const;
  // Whether a load that was given up is still at work; it uses registry and loader.
  bool HasAbandonedLoad() const;

 private:
  // A version that was replaced or unloaded. Never locked: whoever did would hold it for a moment,
  // and might be the last to do so, which destroys the engine under the registry's lock.
  struct Retired {
    std::weak_ptr<ServedModel> model;
    int64_t bytes = 0;
    bool gone() const { return model.expired(); }
  };
  struct Slot {
    ServedModelPtr serving;  // null: none
    bool loading = false;
    ModelBytes loading_bytes;
    int64_t versions = 0;  // loads begun
    std::string path, reason;
    std::vector<Retired> retired;
  };
  // What Load does, on a thread of its own.
  absl::Status LoadNow(const std::string& name, const std::string& path,
                       const std::atomic<bool>& given_up);
  absl::StatusOr<std::string> PathInRoot(const std::string& name) const;
  absl::Status CheckFitsLocked(const std::string& name, const std::string& path,
                               const ModelBytes& bytes) const REQUIRES(mu_);
  absl::StatusOr<ServedModelPtr> LoadVersion(const std::string& name, int64_t version,
                                             OpenedModel opened);
  std::string ServedNamesLocked() const REQUIRES(mu_);

  ModelLoader* const loader_;
  const ModelRegistryOptions options_;
  mutable Mutex mu_;
  std::map<std::string, Slot> slots_ GUARDED_BY(mu_);
  // Of loads that were given up; their destruction waits for the end. Last: they use the others.
  std::vector<std::future<absl::Status>> abandoned_ GUARDED_BY(mu_);
};

}  // namespace tritter
