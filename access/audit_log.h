// Who changed what: a line before a change is made and one with its result after it, each on disk
// before anything goes on.
//
// Files audit-<id of the first record>.jsonl in a folder, one JSON object a line:
//   {"id":7,"time_ms":…,"caller":"alice","peer":"ipv4:…","call":"PauseRun","run":"nano"}
//   {"id":7,"result":"OK","run":"r1f…"}
// A process begins a file of its own; a line that a crash has cut is passed over.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/mutex.h"

namespace tritter {

struct AuditRecord {
  int64_t id = 0;  // increasing, over restarts too
  int64_t time_ms = 0;
  std::string caller, peer, call;
  std::string run;     // as the caller named it, or its id once known; may be empty
  std::string result;  // "OK", or code and sentence; empty: not known, the server ended before
};

struct AuditQuery {
  int64_t after_id = 0;  // only later ones, oldest first; 0: the newest `limit`
  int64_t limit = 100;
  std::vector<std::string> runs;  // names and ids of the runs asked for; empty: of all
};

struct AuditOptions {
  std::string folder;
  uint64_t max_file_bytes = uint64_t{8} << 20;
  size_t max_files = 100;  // the oldest beyond are removed
};

// Thread-safe; `env` and `clock` outlive it. One process a folder.
class AuditLog {
 public:
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(Env* env, Clock* clock,
                                                        AuditOptions options);

  // Records a call that is about to be carried out; its id. When it fails nothing must be changed.
  absl::StatusOr<int64_t> Begin(const AuditRecord& record);
  // Its result. `run`: the id, when the call has shown it.
  absl::Status End(int64_t id, const std::string& result, const std::string& run);

  // Oldest first.
  absl::StatusOr<std::vector<AuditRecord>> Read(const AuditQuery& query);

 private:
  AuditLog(Env* env, Clock* clock, AuditOptions options)
      : env_(env), clock_(clock), options_(std::move(options)) {}
  absl::StatusOr<std::vector<std::string>> Files() const;  // names, oldest first
  absl::Status AppendLocked(const std::string& line, int64_t id) REQUIRES(mu_);
  absl::Status OpenFileLocked(int64_t first_id) REQUIRES(mu_);
  void DropOldestLocked() REQUIRES(mu_);

  Env* const env_;
  Clock* const clock_;
  const AuditOptions options_;
  Mutex mu_;
  std::unique_ptr<WritableFile> file_ GUARDED_BY(mu_);
  uint64_t file_bytes_ GUARDED_BY(mu_) = 0;
  int64_t next_id_ GUARDED_BY(mu_) = 1;
};

}  // namespace tritter
