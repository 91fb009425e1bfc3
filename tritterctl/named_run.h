// Runs that people name: which one was meant, and what a run made from another one is called.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tritter/v1/runs.pb.h"
#include "tritterctl/run_api.h"

namespace tritter {

// "nano (r12)".
std::string RunTitle(const v1::Run& run);

// "2 runs are named nano; this is the newest, r12"; "" when nothing else was meant by the name.
std::string TakenNote(const v1::Run& run);

// The run to be looked at; where several have the name, stderr says which was taken. Errors: those
// of RunApi::GetRun.
absl::StatusOr<v1::Run> GetRunToRead(RunApi* client, const std::string& run);

// What a run made from `name` is called, before the coordinator has seen whether another is called
// so: nano, nano-clone and nano-clone-2 all give nano-clone.
std::string DerivedName(const std::string& name, absl::string_view how);

// What the coordinator has to say about a run that it has taken, on stderr.
void PrintWarning(const v1::SubmitRunResponse& answer);

}  // namespace tritter
