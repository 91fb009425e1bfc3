// `tritter_coordinator backup` and `restore`.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/flags.h"
#include "coordinator/store/open_store.h"

namespace tritter {

struct StoreCommands {
  std::string name;      // of the one that was called; empty: none, the coordinator is to serve
  std::string to, from;  // the file
};

void AddStoreCommands(CommandLine* app, StoreCommands* commands);

// What was done, in one sentence. Errors: as BackUpStore and RestoreStore, InvalidArgument.
absl::StatusOr<std::string> RunStoreCommand(Env* env, const StoreCommands& commands,
                                            const StoreChoice& store);

}  // namespace tritter
