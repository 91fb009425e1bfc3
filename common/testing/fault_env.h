// Fails the n-th change of the file system, and everything after it: the seam of crash-point tests.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/env.h"
#include "common/mutex.h"
#include "common/testing/memory_env.h"

namespace tritter {

// Wraps any Env, which must outlive it. Thread-safe. Counts what changes the file system: creating
// and opening for writing, Append, Sync, Close, CreateDirs, Rename, SyncDir, RemoveFile,
// RemoveTree.
class FaultEnv : public Env {
 public:
  explicit FaultEnv(Env* base) : base_(base) {}

  // From the n-th change on (the first is 1) every change fails with `status`. With `half`, a
  // failing n-th Append writes the first half of its data before it fails; Sync, Rename and the
  // like do happen and only their answer is lost.
  void FailAt(int64_t n, absl::Status status, bool half = false);
  void Heal();         // no more failures; the count starts again
  int64_t changes();   // seen since the start or Heal, failed ones included
  bool tripped();      // a change has failed
  std::string last();  // what the first failure hit, else the last change: "Rename a -> b"

  absl::StatusOr<std::unique_ptr<WritableFile>> NewWritableFile(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<MappedFile>> MapFile(const std::string& path) override;
  absl::StatusOr<std::string> ReadFile(const std::string& path) override;
  bool Exists(const std::string& path) override;
  bool IsDirectory(const std::string& path) override;
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) override;
  absl::Status CreateDirs(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status SyncDir(const std::string& path) override;
  absl::Status RemoveFile(const std::string& path) override;
  absl::Status RemoveTree(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override;

 private:
  class File;
  enum class Verdict { kGo, kFail, kFailAfterDoing };

  Verdict Count(const std::string& what, absl::Status* failure);
  absl::Status Change(const std::string& what, const std::function<absl::Status()>& act);

  Env* const base_;
  Mutex mu_;
  int64_t changes_ GUARDED_BY(mu_) = 0;
  int64_t fail_at_ GUARDED_BY(mu_) = 0;  // 0: never
  absl::Status failure_ GUARDED_BY(mu_);
  bool half_ GUARDED_BY(mu_) = false;
  bool tripped_ GUARDED_BY(mu_) = false;
  std::string last_ GUARDED_BY(mu_);
};

// Runs `act` once for every change it makes, with that change failing (refused, and done by half),
// and after each lets the machine crash in every CrashMode:
//   prepare(mem)      fills a fresh MemoryEnv (its contents are then made durable)
//   act(env)          what is under test; its status is ignored once a fault was hit, else must be
//   OK check(mem, where) looks at what the crash left; `where` names the case for messages
// Returns the number of cases run, at least one for each change; the undisturbed run is one of
// them.
int ForEachCrashPoint(const std::function<void(MemoryEnv*)>& prepare,
                      const std::function<absl::Status(Env*)>& act,
                      const std::function<void(MemoryEnv*, const std::string& where)>& check);

}  // namespace tritter
