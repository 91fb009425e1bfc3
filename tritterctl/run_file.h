// run.yaml as commands take it: read, checked, with the folder its relative paths start from.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/run_spec.h"

namespace tritter {

struct RunFile {
  std::string path;  // as given
  std::string yaml;
  std::string base_dir;  // absolute
  RunSpec spec;
};

// Errors: InvalidArgument for all of them, so that the exit code says "invalid configuration": a
// file that cannot be read, and every problem in it, one a line, file:line:col: path: message.
absl::StatusOr<RunFile> ReadRunFile(Env* env, const std::string& path);

// Against this process's working directory, "." and ".." resolved by name.
std::string AbsolutePath(const std::string& path);

}  // namespace tritter
