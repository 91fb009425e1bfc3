// The coordinator's durable truth behind one interface: SQLite (sqlite_store.h), memory
// (memory_store.h) and a fault-injecting wrapper (fault_store.h); store_conformance.h is the one
// suite for all of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "coordinator/store/records.h"

namespace tritter {

// Changes that become durable together. Applied in the order of the fields.
struct WriteBatch {
  // Runs of which every row goes: epochs, plans, checkpoints, curves, artifacts, events, log lines
  // and keys too.
  std::vector<std::string> deleted_runs;
  std::vector<RunRecord> runs;          // insert or replace by run_id
  std::vector<IdempotencyRecord> keys;  // a key that is there already: AlreadyExists
  std::vector<EpochRecord> epochs;      // insert or replace by (run_id, epoch)
  std::vector<EpochKey>
      forget_epochs;                // drops plans, shares and counted requests of an ended epoch
  std::vector<PlanRecord> plans;    // by (run_id, epoch, first_step)
  std::vector<ShareRecord> shares;  // by (run_id, epoch, step, rank)
  std::vector<CheckpointRecord> checkpoints;  // by (run_id, step)
  std::vector<CheckpointKey> dropped_checkpoints;
  std::vector<Supersede> superseded;
  std::vector<MetricRecord> metrics;          // by (run_id, step, epoch); a repeat replaces
  std::vector<EvaluationRecord> evaluations;  // by (run_id, step, epoch, source, weights)
  std::vector<ArtifactRecord> artifacts;      // by (run_id, kind)
  std::vector<v1::Event> events;  // ids given by the caller; one that is there: AlreadyExists
  std::vector<RequestRecord> requests;
  std::vector<LogRecord>
      log_lines;  // `sequence` is ignored; the oldest of a run beyond the bound go
  std::vector<Prune> prunes;
};

// Of the epochs of a run that have ended; nothing where there is none.
struct LastEpochs {
  std::optional<EpochRecord> ended;   // the newest
  std::optional<EpochRecord> failed;  // the newest with a failure; may be the same
};

// Log lines kept for each run.
inline constexpr int64_t kKeptLogLines = 5000;

// Thread-safe. Every read sees whole batches only. Errors of all methods: ResourceExhausted (disk
// full; nothing was changed), DataLoss (the file is damaged), Internal; messages name the file.
class Store {
 public:
  virtual ~Store() = default;

  // Durable when it returns OK; on an error nothing of the batch is there. AlreadyExists: see
  // WriteBatch.
  virtual absl::Status Apply(const WriteBatch& batch) = 0;
  // Each as by Apply, one after the other, with an answer each; they may become durable together,
  // which costs one write to the disk instead of one each.
  virtual std::vector<absl::Status> ApplyAll(absl::Span<const WriteBatch* const> batches);

  // Identity drawn when the store was made; constant over restarts.
  virtual absl::StatusOr<std::string> StoreId() = 0;
  virtual absl::StatusOr<std::vector<RunRecord>> Runs() = 0;  // oldest first
  virtual absl::StatusOr<std::vector<EpochRecord>> LiveEpochs() = 0;
  // The newest `limit` of the run, by number.
  virtual absl::StatusOr<std::vector<EpochRecord>> Epochs(const std::string& run_id,
                                                          int64_t limit) = 0;
  virtual absl::StatusOr<LastEpochs> Last(const std::string& run_id) = 0;
  virtual absl::StatusOr<std::vector<v1::Plan>> Plans(const std::string& run_id,
                                                      uint64_t epoch) = 0;  // by first_step
  virtual absl::StatusOr<std::vector<ShareRecord>> Shares(const std::string& run_id,
                                                          uint64_t epoch) = 0;
  virtual absl::StatusOr<std::vector<v1::Checkpoint>> Checkpoints(
      const std::string& run_id) = 0;  // oldest first
  virtual absl::StatusOr<std::vector<v1::Artifact>> Artifacts(const std::string& run_id) = 0;
  virtual absl::StatusOr<int64_t> LastEventId() = 0;  // 0 when there is none
  // Events with id > after_id, oldest first, at most `limit`; of all runs when run_id is empty.
  virtual absl::StatusOr<std::vector<v1::Event>> Events(const std::string& run_id, int64_t after_id,
                                                        int64_t limit) = 0;
  // The curve: each step once, steps in [first, last], at most `limit`; last 0 means to the end.
  virtual absl::StatusOr<std::vector<v1::StepMetrics>> Metrics(const std::string& run_id,
                                                               int64_t first, int64_t last,
                                                               int64_t limit) = 0;
  // Steps trained in work that was lost: for goodput.
  virtual absl::StatusOr<int64_t> SupersededSteps(const std::string& run_id) = 0;
  // As Metrics: by step, in [first, last], at most `limit`.
  virtual absl::StatusOr<std::vector<v1::EvaluationPoint>> Evaluations(const std::string& run_id,
                                                                       int64_t first, int64_t last,
                                                                       int64_t limit) = 0;
  virtual absl::StatusOr<std::optional<IdempotencyRecord>> FindKey(const std::string& key) = 0;
  virtual absl::StatusOr<bool> RequestSeen(const RequestRecord& request) = 0;
  // What all of it takes on disk, about; 0 in memory.
  virtual absl::StatusOr<int64_t> Bytes() = 0;
  // Lines with sequence > after, oldest first; of those only the newest `tail` when tail > 0.
  virtual absl::StatusOr<std::vector<LogRecord>> LogLines(const std::string& run_id, int64_t after,
                                                          int64_t tail) = 0;
};

inline std::vector<absl::Status> Store::ApplyAll(absl::Span<const WriteBatch* const> batches) {
  std::vector<absl::Status> out;
  for (const WriteBatch* batch : batches) out.push_back(Apply(*batch));
  return out;
}

}  // namespace tritter
