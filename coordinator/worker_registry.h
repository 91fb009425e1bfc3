// The workers the coordinator knows: identity, session, liveness, and which epoch each belongs to.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/decide/loss.h"
#include "coordinator/decide/world.h"
#include "coordinator/store/records.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

// The way to a worker's open stream. Thread-safe; never blocks.
class CommandSink {
 public:
  virtual ~CommandSink() = default;
  virtual void Push(const v1::Command& command) = 0;
  virtual void Close(
      const absl::Status& status) = 0;  // ends the stream; further pushes are dropped
};

// All times are Clock::Monotonic.
struct WorkerEntry {
  std::string name;
  uint64_t incarnation = 0;
  v1::RegisterRequest info;
  bool registered = false;  // with this coordinator: `info` is what it said then
  uint64_t session = 0;     // 0: none is open
  std::shared_ptr<CommandSink> sink;
  bool awaited = false;  // member of a live epoch that has not come back since the start
  bool missed = false;   // Liveness::missed
  bool lost = false;
  std::string lost_kind, lost_why;  // Loss
  bool left = false;                // lost, but as it was told
  absl::Duration started, detached_at, last_heartbeat, standing_since;
  absl::Duration heard_at = -absl::InfiniteDuration();  // while it is awaited: a call of it came
  int64_t last_seen_ms = 0;
  v1::Heartbeat last;  // newest heartbeat of this incarnation
  std::string run_id;  // live epoch it is a member of, or empty
  uint64_t epoch = 0;
  bool joined = false;  // has reported that epoch in a heartbeat
  // Another process of this name that has registered, and takes its place when it opens a session:
  // what a dead one said may arrive late, its session never does.
  std::optional<v1::RegisterRequest> successor;
  // When its name was last refused to another process, as it was connected.
  absl::Duration contested_at = -absl::InfiniteDuration();
  std::vector<uint64_t> replaced;  // incarnations before this one; the newest few
  // By run id: why this process cannot read its configuration; a sentence with its version.
  std::map<std::string, std::string> cannot_read;
  // Since when it should: the assignment was pushed to it, and again after a restart of ours.
  std::optional<absl::Duration> told_at;
};

// Not thread-safe: guarded by the coordinator's mutex.
class WorkerRegistry {
 public:
  // Registers an incarnation. Of another one than the one that is known it remembers who it is, see
  // Enter. FailedPrecondition STALE_INCARNATION: this one was replaced; NAME_IN_USE (Unavailable
  // while that one leaves, or its stream broke a moment ago and several ask for its name): the one
  // that is known has a session open.
  absl::Status Register(const v1::RegisterRequest& request, absl::Duration now, int64_t now_ms);
  // Who opens a session: the entry of this incarnation, which takes the place of another one of its
  // name if it registered as its successor; that one is moved to `old`. NotFound UNKNOWN_WORKER: it
  // has not registered since this coordinator was started, of which nothing is known but its name
  // then. Else as Register.
  absl::StatusOr<WorkerEntry*> Enter(const v1::WorkerIdentity& id, absl::Duration now,
                                     WorkerEntry* old);
  // A member of a live epoch that was stored before the coordinator started.
  void Await(const MemberRecord& member, const std::string& run_id, uint64_t epoch,
             absl::Duration now);

  WorkerEntry* Find(const std::string& name);
  WorkerEntry* BySession(uint64_t session);
  // NotFound UNKNOWN_WORKER, FailedPrecondition STALE_INCARNATION.
  absl::Status Check(const v1::WorkerIdentity& worker);
  // It has called: one that is awaited lives, though its session is not open yet.
  void Hear(const v1::WorkerIdentity& worker, absl::Duration now);

  uint64_t Attach(WorkerEntry* worker, std::shared_ptr<CommandSink> sink, absl::Duration now,
                  int64_t now_ms);
  // Another member of its epoch says that the group is broken.
  void Miss(WorkerEntry* worker);
  void Detach(WorkerEntry* worker, absl::Duration now);
  void Beat(WorkerEntry* worker, const v1::Heartbeat& heartbeat, absl::Duration now,
            int64_t now_ms);
  void Assign(WorkerEntry* worker, const std::string& run_id, uint64_t epoch, absl::Duration now);
  void Release(WorkerEntry* worker, absl::Duration now);

  // The process was away until `back`: what a worker did not say before then is no silence.
  void Excuse(absl::Duration back);
  // Marks those that are lost now, and returns them.
  std::vector<WorkerEntry*> MarkLost(absl::Duration now, const LivenessOptions& options);
  // Forgets workers lost for longer than `age`.
  void Forget(absl::Duration now, absl::Duration age);

  // `run_name`: the name of a run by its id.
  std::vector<WorkerView> Views(absl::Duration now,
                                const std::map<std::string, std::string>& run_names) const;
  static Standing StandingOf(const WorkerEntry& worker);
  // "pid 12 on host-a"; of a member of an epoch that was found in the store no more than its name
  // is known before it has registered.
  static std::string ProcessOf(const WorkerEntry& worker);
  static std::string ProcessIfKnown(const WorkerEntry& worker);  // "": it is not
  std::map<std::string, WorkerEntry>& all() { return workers_; }
  const std::map<std::string, WorkerEntry>& all() const { return workers_; }

 private:
  std::map<std::string, WorkerEntry> workers_;             // entries stay where they are
  std::unordered_map<uint64_t, WorkerEntry*> by_session_;  // of those with a session
  uint64_t next_session_ = 1;
};

}  // namespace tritter
