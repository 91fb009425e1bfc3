// Store over an SqlDatabase: every read and write of every SQL store, written once.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/mutex.h"
#include "coordinator/store/sql_database.h"
#include "coordinator/store/store.h"

namespace tritter {

// Called before every statement of a batch ("statement"), before ("commit") and after the commit
// ("committed"); an error ends the batch there. For crash-point tests.
using StoreHook = std::function<absl::Status(absl::string_view point)>;

class SqlStore : public Store {
 public:
  // `db` has the newest schema (MigrateStore). `keep` (a lock on the files, say) goes after it.
  explicit SqlStore(std::unique_ptr<SqlDatabase> db, StoreHook hook = nullptr,
                    std::shared_ptr<void> keep = nullptr)
      : hook_(std::move(hook)), keep_(std::move(keep)), db_(std::move(db)) {}

  absl::Status Apply(const WriteBatch& batch) override;
  // In one transaction; where one of them is refused, in one each.
  std::vector<absl::Status> ApplyAll(absl::Span<const WriteBatch* const> batches) override;
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
  absl::StatusOr<int64_t> Bytes() override;
  absl::StatusOr<std::vector<LogRecord>> LogLines(const std::string& run_id, int64_t after,
                                                  int64_t tail) override;

 private:
  absl::Status ApplyLocked(const std::vector<SqlStatement>& statements) REQUIRES(mu_);
  absl::Status RunLocked(const std::vector<SqlStatement>& statements) REQUIRES(mu_);

  const StoreHook hook_;
  const std::shared_ptr<void> keep_;
  Mutex mu_;
  const std::unique_ptr<SqlDatabase> db_ PT_GUARDED_BY(mu_);
};

// The identity that is in the database. DataLoss when there is none.
absl::StatusOr<std::string> StoreIdOf(SqlDatabase* db);

}  // namespace tritter
