// How the parameters of a run are divided over its ranks: which rank writes each to a checkpoint
// and, with a sharded optimiser, updates it.
#pragma once

#include <cstdint>
#include <vector>

namespace tritter {

// Rank of each parameter, given the numbers of their elements: largest first to the rank with the
// least so far; ties go to the earlier parameter and the lower rank.
std::vector<int> AssignShares(const std::vector<int64_t>& sizes, int64_t ranks);

}  // namespace tritter
