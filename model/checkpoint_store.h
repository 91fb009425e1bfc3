// Where the checkpoints of one run are kept. Whatever writes, lists, commits, verifies, reads or
// deletes a checkpoint does it through a CheckpointStore; what lies where is the store's own
// affair. A folder today (folder_checkpoint_store.h); the interface asks for nothing that an
// object store has not: no rename, no folders, a manifest that is written last is the commit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/checkpoint_manifest.h"

namespace tritter {

// One try to write the checkpoint of a step. The ranks of an epoch write the same attempt; two
// epochs never do.
struct CheckpointAttempt {
  int64_t step = 0;
  std::string name;  // "e3": letters and digits
};

// A committed checkpoint, open for reading. Immutable and thread-safe.
class CheckpointReader {
 public:
  CheckpointReader(std::string location, const std::string& manifest_json,
                   CheckpointManifest manifest);
  virtual ~CheckpointReader() = default;

  const CheckpointManifest& manifest() const { return manifest_; }
  const std::string& manifest_sha256() const { return manifest_sha256_; }
  // Of the manifest and the files it names.
  uint64_t bytes() const { return bytes_; }
  // For messages: "…/checkpoints/step-00000200".
  const std::string& location() const { return location_; }
  std::string LocationOf(const std::string& name) const;
  // A file that the manifest names, unchecked. Errors: NotFound, those of the medium.
  virtual absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& name) const = 0;

 private:
  const std::string location_;
  const CheckpointManifest manifest_;
  const std::string manifest_sha256_;
  uint64_t bytes_;
};

// One file of a checkpoint: OK, or DataLoss with expected and actual size or hash, or why it
// cannot be read now.
struct CheckedFile {
  ManifestFile file;
  absl::Status status;
};

// Reads every file to its end.
std::vector<CheckedFile> CheckCheckpointFiles(const CheckpointReader& checkpoint);
// The first file that is not right; OK when all are.
absl::Status VerifyCheckpoint(const CheckpointReader& checkpoint);

// Thread-safe; several processes may use it at once (ranks write, one coordinator commits).
// Errors everywhere: those of the medium (ResourceExhausted: it is full), naming the file.
class CheckpointStore {
 public:
  virtual ~CheckpointStore() = default;

  // For messages: what a person would look at or make room on.
  virtual std::string location() const = 0;

  // Once, by whoever makes the run.
  virtual absl::Status Create() = 0;

  // --- ranks ---
  // Makes ready for the files of an attempt. Every rank does it, and may repeat it.
  virtual absl::Status Begin(const CheckpointAttempt& attempt) = 0;
  // A new file of the attempt, in place of one with that name. It belongs to the attempt, and
  // durably so, when Sync and Close have returned OK; one given up before leaves nothing behind
  // where that can be helped.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Put(const CheckpointAttempt& attempt,
                                                            const std::string& name) = 0;

  // --- coordinator ---
  // Of a file that was put. Errors: NotFound.
  virtual absl::StatusOr<uint64_t> FileBytes(const CheckpointAttempt& attempt,
                                             const std::string& name) = 0;
  // The attempt that the manifest names, with every file of it put, becomes the checkpoint of its
  // step, in place of one that is there: from one moment to the next, whatever happens in between.
  // May be repeated after any failure. Errors: DataLoss when the attempt is gone.
  virtual absl::StatusOr<std::unique_ptr<CheckpointReader>> Commit(
      const CheckpointManifest& manifest) = 0;
  // One that is found (Steps, Open) stays, whatever happens from now on: who committed it may have
  // died before that was certain.
  virtual absl::Status Confirm(int64_t step) = 0;
  // Steps with a committed checkpoint (not verified), oldest first; none when there is no store
  // yet.
  virtual absl::StatusOr<std::vector<int64_t>> Steps() = 0;
  // After a crash in it the checkpoint is there, whole, or it is not. OK when it is not there.
  virtual absl::Status Remove(int64_t step) = 0;
  // Removes what dead attempts and interrupted removals left, attempts called `live_attempt` (of
  // any step) excepted. Returns what it removed, in words of the medium.
  virtual absl::StatusOr<std::vector<std::string>> CleanUp(const std::string& live_attempt) = 0;

  // --- anybody ---
  // Errors: NotFound (no committed checkpoint of that step), DataLoss (its manifest is damaged),
  // Unavailable (the store as a whole is not there: not mounted, say).
  virtual absl::StatusOr<std::unique_ptr<CheckpointReader>> Open(int64_t step) = 0;
};

}  // namespace tritter
