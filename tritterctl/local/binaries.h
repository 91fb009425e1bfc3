// Where the servers' programs are: beside tritterctl, as Bazel lays them out or as an installation
// does.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"

namespace tritter {

// `given` when not empty; else, from the folder of this program, ../<component>/tritter_<component>
// (bazel-bin), or tritter_<component> beside it. NotFound naming the places looked at and the flag
// that overrides.
absl::StatusOr<std::string> FindBinary(Env* env, const std::string& own_folder,
                                       const std::string& component, const std::string& given);

// The folder this program's file is in, links resolved.
absl::StatusOr<std::string> OwnFolder();

}  // namespace tritter
