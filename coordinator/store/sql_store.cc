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

absl::Status SqlStore::Apply(const WriteBatch& batch) {
  const std::vector<SqlStatement> statements = StatementsOf(batch);
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(db_->Begin());
  if (absl::Status status = RunLocked(statements); !status.ok()) {
    db_->Rollback();
    return status;
  }
  return hook_ ? hook_("committed") : absl::OkStatus();
}

}  // namespace tritter
