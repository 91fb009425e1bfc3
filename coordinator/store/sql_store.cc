// The writing half of SqlStore; the reading one is sql_reads.cc.
#include "coordinator/store/sql_store.h"

#include "common/status_macros.h"
#include "coordinator/store/sql_statements.h"

namespace tritter {

absl::Status SqlStore::RunLocked(const std::vector<SqlStatement>& statements) {
  if (!hook_) {
    RETURN_IF_ERROR(db_->Run(statements));
    return db_->Commit();
  }
  for (const SqlStatement& statement : statements) {
    RETURN_IF_ERROR(hook_("statement"));
    RETURN_IF_ERROR(db_->Run(absl::MakeConstSpan(&statement, 1)));
  }
  RETURN_IF_ERROR(hook_("commit"));
  return db_->Commit();
}

absl::Status SqlStore::ApplyLocked(const std::vector<SqlStatement>& statements) {
  RETURN_IF_ERROR(db_->Begin());
  if (absl::Status status = RunLocked(statements); !status.ok()) {
    db_->Rollback();
    return status;
  }
  return hook_ ? hook_("committed") : absl::OkStatus();
}

absl::Status SqlStore::Apply(const WriteBatch& batch) {
  const std::vector<SqlStatement> statements = StatementsOf(batch);
  MutexLock lock(&mu_);
  return ApplyLocked(statements);
}

std::vector<absl::Status> SqlStore::ApplyAll(absl::Span<const WriteBatch* const> batches) {
  std::vector<std::vector<SqlStatement>> each;
  std::vector<SqlStatement> all;
  for (const WriteBatch* batch : batches) {
    each.push_back(StatementsOf(*batch));
    if (batches.size() > 1) all.insert(all.end(), each.back().begin(), each.back().end());
  }
  MutexLock lock(&mu_);
  if (batches.size() > 1) {
    const absl::Status together = ApplyLocked(all);
    // Unavailable: they may be there, all of them, so that none is tried again.
    if (together.ok() || absl::IsUnavailable(together))
      return std::vector<absl::Status>(batches.size(), together);
  }
  std::vector<absl::Status> out;
  for (const std::vector<SqlStatement>& statements : each) out.push_back(ApplyLocked(statements));
  return out;
}

}  // namespace tritter
