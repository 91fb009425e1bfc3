// Runs of one name: which of them is meant, and which name none has yet. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "tritter/v1/runs.pb.h"

namespace tritter {

// As sentences about it call a run: its name alone may be that of several. "nano (r12)".
std::string NamedRun(absl::string_view name, absl::string_view run_id);
// Where its priority matters: "nano (r12, priority 3)".
std::string NamedRun(absl::string_view name, absl::string_view run_id, int64_t priority);

// One of several runs of a name.
struct Namesake {
  std::string run_id;
  v1::RunState state = v1::RUN_STATE_QUEUED;
  absl::Duration age;  // since it was submitted
};

// Which of `runs`, all that have the name, a change of the run of that name is for: the only one
// there is, or the only one that has not ended. Without: nobody can tell.
std::optional<size_t> RunToChange(absl::Span<const Namesake> runs);

// "2 runs are named nano: r2 (running, submitted 41 s ago) and r1 (completed, submitted 3 h ago)".
// `runs`: newest first.
std::string AmbiguityWords(absl::string_view name, absl::Span<const Namesake> runs);

// `wanted`, or the first of wanted-2, wanted-3, … that is not taken, cut to the longest name that a
// run may have.
std::string DistinctName(const std::string& wanted, const std::set<std::string>& taken);

}  // namespace tritter
