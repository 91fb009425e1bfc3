#include "coordinator/store/sql_database.h"

namespace tritter {

absl::StatusOr<bool> SelectOne(SqlDatabase* db, const SqlStatement& query,
                               const std::function<void(const SqlRow&)>& first) {
  bool found = false;
  absl::Status status = db->Select(query, [&](const SqlRow& row) {
    if (!found) first(row);
    found = true;
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return found;
}

}  // namespace tritter
