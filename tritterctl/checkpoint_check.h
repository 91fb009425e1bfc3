// Reads checkpoints from end to end and tells file by file what is right and what is not: one
// checkpoint, or all of a run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/env.h"
#include "model/checkpoint_store.h"
#include "tritter/v1/runs.pb.h"
#include "tritterctl/output.h"

namespace tritter {

struct CheckpointCheck {
  std::string location;
  absl::Status manifest;  // when it is not OK the files are unknown
  std::string run_id;
  int64_t step = 0;
  uint64_t bytes = 0;
  std::vector<CheckedFile> files;

  bool valid() const;
};

// A folder of one checkpoint, by its name or by what lies in it; damaged ones too.
bool IsCheckpointFolder(Env* env, const std::string& folder);
CheckpointCheck CheckCheckpointFolder(Env* env, const std::string& folder);

// The run whose folder this is, or that has its checkpoints in it; none when it is no such folder.
std::optional<std::string> FindRunFolder(Env* env, const std::string& folder);
// Every committed checkpoint of the run, oldest first. `recorded`: what the coordinator knows; a
// checkpoint that is another one than recorded, or is gone, is not right. Errors: those of files;
// NotFound when there is nothing to check.
absl::StatusOr<std::vector<CheckpointCheck>> CheckRun(
    Env* env, const std::string& run_dir, const std::vector<v1::Checkpoint>& recorded = {});

// One line a file.
std::string CheckpointCheckText(const CheckpointCheck& check);
// The checkpoints and, last, which one a run would resume from.
std::string RunCheckText(const std::vector<CheckpointCheck>& checks);
OrderedJson CheckpointCheckJson(const CheckpointCheck& check);
OrderedJson RunCheckJson(const std::string& path, const std::vector<CheckpointCheck>& checks);
bool AllValid(const std::vector<CheckpointCheck>& checks);

}  // namespace tritter
