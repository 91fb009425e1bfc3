#include "worker/memory_start.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

// "rank 1", "ranks 0, 2".
std::string Ranks(const std::vector<int>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

// Every rank's `own` (all of one length, each below 256), one after the other: summed with zeros,
// which is exact.
absl::StatusOr<std::vector<double>> Gather(const std::string& own, Collective* collective) {
  std::vector<double> all(own.size() * collective->world_size(), 0.0);
  for (size_t i = 0; i < own.size(); ++i)
    all[own.size() * collective->rank() + i] = static_cast<unsigned char>(own[i]);
  RETURN_IF_ERROR(collective->AllReduceSum(all.data(), static_cast<int64_t>(all.size())));
  return all;
}

absl::Status CompareStates(int64_t step, int root, Collective* collective, Trainer* trainer) {
  ASSIGN_OR_RETURN(const std::string own, trainer->StateHash());
  ASSIGN_OR_RETURN(const std::vector<double> all, Gather(own, collective));
  const auto hash_of = [&](int rank) {
    const auto first = all.begin() + static_cast<int64_t>(own.size()) * rank;
    return std::string(first, first + static_cast<int64_t>(own.size()));
  };
  std::vector<int> others;
  for (int rank = 0; rank < collective->world_size(); ++rank) {
    if (hash_of(rank) != hash_of(root)) others.push_back(rank);
  }
  if (others.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "the states after ", step, " steps in the memory of members differ: rank ", root,
      " has SHA-256 ", hash_of(root), ", ", Ranks(others), " not (rank ", others.front(), " has ",
      hash_of(others.front()),
      "): memory or arithmetic of one of these hosts is at fault; test them, then extend the run "
      "from its newest checkpoint"));
}

}  // namespace

absl::Status StartFromMemory(int64_t step, int root, bool hold, Collective* collective,
                             Trainer* trainer) {
  if (root < 0 || root >= collective->world_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("state_rank is ", root, ", expected 0 to ", collective->world_size() - 1));
  }
  ASSIGN_OR_RETURN(const std::vector<double> holds,
                   Gather(std::string(1, hold ? 1 : 0), collective));
  std::vector<int> without;
  for (int rank = 0; rank < collective->world_size(); ++rank) {
    if (holds[rank] == 0) without.push_back(rank);
  }
  if (!without.empty()) {
    if (holds[root] == 0) {
      return absl::NotFoundError(
          absl::StrCat("rank ", root, " was to give the state after ", step, " steps to ",
                       Ranks(without), " and does not hold it; the run goes on from a checkpoint"));
    }
    RETURN_IF_ERROR(trainer->ShareState(root, !hold));
  }
  return CompareStates(step, root, collective, trainer);
}

}  // namespace tritter
