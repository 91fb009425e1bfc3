#include "worker/failure_words.h"

#include <initializer_list>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace tritter {
namespace {

bool HasAny(absl::string_view text, std::initializer_list<absl::string_view> parts) {
  for (const absl::string_view part : parts) {
    if (absl::StrContains(text, part)) return true;
  }
  return false;
}

// "w1", "one of w1, w2 and w3", "one of the 8 other workers".
std::string Named(const std::vector<std::string>& others) {
  constexpr size_t kNamed = 4;
  if (others.empty()) return "another worker";
  if (others.size() == 1) return others[0];
  if (others.size() > kNamed) return absl::StrCat("one of the ", others.size(), " other workers");
  const std::vector<std::string> first(others.begin(), others.end() - 1);
  return absl::StrCat("one of ", absl::StrJoin(first, ", "), " and ", others.back());
}

std::string Where(EpochStage stage, int64_t step) {
  switch (stage) {
    case EpochStage::kStep:
      return absl::StrCat("in the gradient exchange of step ", step + 1);
    case EpochStage::kEvaluation:
      return absl::StrCat("in the evaluation after step ", step);
    case EpochStage::kMemoryStart:
      return absl::StrCat("while the state of step ", step, " was handed over");
    default:
      return "while the group was formed";
  }
}

// What Gloo, NCCL and the store of c10d say of a peer, in our words; `text` in lower case. A name
// goes before and a place behind.
absl::string_view WhatHappened(absl::string_view text) {
  if (HasAny(text,
             {"connection refused", "no route to host", "network is unreachable", "host is down",
              "failed to connect", "connectfullmesh", "connect timeout", "no rendezvous at"}))
    return "could not be reached";
  // Whose exchange is over time may be silent, or wait for somebody itself.
  if (HasAny(text, {"timed out", "timeout"})) return "kept the others waiting too long";
  if (HasAny(text, {"connection closed", "connection reset", "broken pipe", "socket closed",
                    "got 0 bytes", "remote process exited", "network error", "eof"}))
    return "stopped answering";
  return "";
}

}  // namespace

bool IsGroupFailure(EpochStage stage, const absl::Status& status) {
  const bool collective = stage == EpochStage::kStep || stage == EpochStage::kEvaluation ||
                          stage == EpochStage::kGroup || stage == EpochStage::kMemoryStart;
  return collective && (absl::IsUnavailable(status) || absl::IsAborted(status) ||
                        absl::IsDeadlineExceeded(status));
}

FailureWords DescribeFailure(EpochStage stage, int64_t step, const absl::Status& status,
                             const std::vector<std::string>& others) {
  FailureWords out;
  const absl::string_view message = status.message();
  const absl::string_view line = message.substr(0, message.find_first_of("\r\n"));
  const std::string said = absl::StrCat(absl::StatusCodeToString(status.code()), ": ", message);
  if (IsGroupFailure(stage, status)) {
    const absl::string_view happened = WhatHappened(absl::AsciiStrToLower(line));
    if (!happened.empty()) {
      out.sentence = absl::StrCat(Named(others), " ", happened, " ", Where(stage, step));
      out.detail = said;
      return out;
    }
  }
  out.sentence = absl::StrCat(EpochStageName(stage), " at step ", step, ": ", line);
  if (line != message) out.detail = said;
  return out;
}

}  // namespace tritter
