// The statements of a WriteBatch: what both databases understand, see sql_database.h.
#pragma once

#include <vector>

#include "coordinator/store/sql_database.h"
#include "coordinator/store/store.h"

namespace tritter {

// To be run in this order in one transaction.
std::vector<SqlStatement> StatementsOf(const WriteBatch& batch);

}  // namespace tritter
