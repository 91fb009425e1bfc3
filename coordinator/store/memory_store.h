// Store in memory: for tests and simulation. Everything is lost with the object.
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "common/mutex.h"
#include "coordinator/store/store.h"

namespace tritter {

class MemoryStore : public Store {
 public:
  explicit MemoryStore(std::string store_id = "memory");

  absl::Status Apply(const WriteBatch& batch) override;
  absl::StatusOr<std::string> StoreId() override;
  absl::StatusOr<std::vector<RunRecord>> Runs() override;
  absl::StatusOr<std::vector<EpochRecord>> LiveEpochs() override;
  absl::StatusOr<std::vector<EpochRecord>> Epochs(const std::string& run_id,
                                                  int64_t limit) override;
  absl::StatusOr<LastEpochs> Last(const std::string& run_id) override;
  absl::StatusOr<std::vector<v1::Plan>> Plans(const std::string& run_id, uint64_t epoch) override;
  absl::StatusOr<std::vector<ShareRecord>> Shares(const std::string& run_id,
                                                  uint64_t epoch) override;
  absl::StatusOr<std::vector<v1::Checkpoint>> Checkpoints(const std::string& run_id) override;
  absl::StatusOr<std::vector<v1::Artifact>> Artifacts(const std::string& run_id) override;
  absl::StatusOr<int64_t> LastEventId() override;
  absl::StatusOr<std::vector<v1::Event>> Events(const std::string& run_id, int64_t after_id,
                                                int64_t limit) override;
  absl::StatusOr<std::vector<v1::StepMetrics>> Metrics(const std::string& run_id, int64_t first,
                                                       int64_t last, int64_t limit) override;
  absl::StatusOr<int64_t> SupersededSteps(const std::string& run_id) override;
  absl::StatusOr<std::vector<v1::EvaluationPoint>> Evaluations(const std::string& run_id,
                                                               int64_t first, int64_t last,
                                                               int64_t limit) override;
  absl::StatusOr<std::optional<IdempotencyRecord>> FindKey(const std::string& key) override;
  absl::StatusOr<bool> RequestSeen(const RequestRecord& request) override;
  absl::StatusOr<int64_t> Bytes() override { return 0; }
  absl::StatusOr<std::vector<LogRecord>> LogLines(const std::string& run_id, int64_t after,
                                                  int64_t tail) override;

 private:
  using Epoch = std::pair<std::string, uint64_t>;  // (run_id, epoch)
  template <typename T>
  struct Row {
    T value;
    bool superseded = false;
  };

  absl::Status CheckUniqueLocked(const WriteBatch& batch) REQUIRES(mu_);
  void SupersedeLocked(const Supersede& s) REQUIRES(mu_);
  void AppendLogLocked(LogRecord record) REQUIRES(mu_);
  void DeleteLocked(const std::string& run_id) REQUIRES(mu_);
  void PruneLocked(const Prune& prune) REQUIRES(mu_);

  const std::string store_id_;
  Mutex mu_;
  std::map<std::string, RunRecord> runs_ GUARDED_BY(mu_);
  std::map<std::string, IdempotencyRecord> keys_ GUARDED_BY(mu_);
  std::map<Epoch, EpochRecord> epochs_ GUARDED_BY(mu_);
  std::map<Epoch, std::map<int64_t, v1::Plan>> plans_ GUARDED_BY(mu_);
  std::map<Epoch, std::map<std::pair<int64_t, int32_t>, ShareRecord>> shares_ GUARDED_BY(mu_);
  std::map<Epoch, std::set<std::string>> requests_ GUARDED_BY(mu_);
  std::map<std::string, std::map<int64_t, v1::Checkpoint>> checkpoints_ GUARDED_BY(mu_);
  std::map<std::string, std::map<std::string, v1::Artifact>> artifacts_ GUARDED_BY(mu_);
  std::map<std::string, std::map<std::pair<int64_t, uint64_t>, Row<v1::StepMetrics>>> metrics_
      GUARDED_BY(mu_);
  std::map<std::string, std::map<std::tuple<int64_t, uint64_t, std::string, std::string>,
                                 Row<v1::EvaluationPoint>>>
      evaluations_ GUARDED_BY(mu_);
  std::map<int64_t, v1::Event> events_ GUARDED_BY(mu_);
  std::map<std::string, std::vector<LogRecord>> logs_ GUARDED_BY(mu_);
  int64_t next_log_ GUARDED_BY(mu_) = 1;
};

}  // namespace tritter
