// Store in one SQLite file: WAL, synchronous=FULL, one connection, one writer. The folder is locked
// for as long as the store is open, so that a second coordinator on it is refused.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/env.h"
#include "common/file_lock.h"
#include "common/mutex.h"
#include "coordinator/store/sqlite_db.h"
#include "coordinator/store/store.h"

namespace tritter {

struct SqliteStoreOptions {
  // Called before every statement of a batch ("statement"), before ("commit") and after the commit
  // ("committed"); an error ends the batch there. For crash-point tests.
  std::function<absl::Status(absl::string_view point)> hook;
  int64_t max_pages = 0;  // 0: as large as the disk allows; for tests of a full disk
};

class SqliteStore : public Store {
 public:
  // data_dir/coordinator.db, created with its folder when missing; data_dir/coordinator.lock is
  // held. Errors: FailedPrecondition (in use by another process, which is named; a file of another
  // program; a newer schema), ResourceExhausted, PermissionDenied, DataLoss.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(Env* env, const std::string& data_dir,
                                                           SqliteStoreOptions options = {});

  absl::Status Apply(const WriteBatch& batch) override;
  absl::StatusOr<std::string> StoreId() override;
  absl::StatusOr<std::vector<RunRecord>> Runs() override;
  absl::StatusOr<std::vector<EpochRecord>> LiveEpochs() override;
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
  absl::StatusOr<std::vector<LogRecord>> LogLines(const std::string& run_id, int64_t after,
                                                  int64_t tail) override;

 private:
  SqliteStore(std::unique_ptr<FileLock> lock, std::unique_ptr<SqliteDb> db,
              SqliteStoreOptions options)
      : options_(std::move(options)), lock_(std::move(lock)), db_(std::move(db)) {}

  absl::Status Hook(absl::string_view point);
  absl::Status WriteLocked(const WriteBatch& batch) REQUIRES(mu_);

  const SqliteStoreOptions options_;
  const std::unique_ptr<FileLock> lock_;  // outlives the connection
  Mutex mu_;
  const std::unique_ptr<SqliteDb> db_ PT_GUARDED_BY(mu_);
};

}  // namespace tritter
