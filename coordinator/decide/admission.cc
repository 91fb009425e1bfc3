#include "coordinator/decide/admission.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "coordinator/decide/memory.h"
#include "coordinator/decide/words.h"
#include "coordinator/errors.h"

namespace tritter {
namespace {

void CheckSources(const RunSpec& spec, const AdmissionFacts& facts,
                  std::vector<std::string>* problems) {
  const SourceFacts* first = nullptr;
  for (size_t i = 0; i < facts.sources.size(); ++i) {
    const SourceFacts& source = facts.sources[i];
    const std::string where = absl::StrCat("data.sources.", source.name, ": ");
    if (!source.status.ok()) {
      problems->push_back(absl::StrCat(where, std::string(source.status.message())));
      continue;
    }
    if (source.samples == 0) {
      problems->push_back(
          absl::StrCat(where, "holds no whole sample of ", spec.sequence_length + 1,
                       " tokens; use a shorter training.sequence_length or more text"));
      continue;
    }
    if (first == nullptr) first = &source;
    if (source.tokenizer_hash != first->tokenizer_hash) {
      problems->push_back(absl::StrCat(where, "was made by tokenizer ",
                                       source.tokenizer_hash.substr(0, 12), ", source ",
                                       first->name, " by ", first->tokenizer_hash.substr(0, 12),
                                       "; curate both with the same one"));
    }
    if (source.vocabulary > spec.model.vocab) {
      problems->push_back(absl::StrCat(where, "has token ids up to ", source.vocabulary - 1,
                                       ", model.vocab is ", spec.model.vocab, "; set it to ",
                                       source.vocabulary, " or more"));
    }
    const double epochs = static_cast<double>(source.slots) / static_cast<double>(source.samples);
    if (i < spec.sources.size() && epochs > spec.sources[i].max_epochs) {
      const std::string times =
          epochs < 0.1 ? absl::StrFormat("%.2g", epochs) : absl::StrFormat("%.1f", epochs);
      problems->push_back(
          absl::StrFormat("%sthe run would repeat it %s times (%d samples drawn of %d), "
                          "max_epochs is %g; shorten the run, add text or "
                          "raise max_epochs",
                          where, times, source.slots, source.samples, spec.sources[i].max_epochs));
    }
  }
}

void CheckMemory(const RunSpec& spec, const AdmissionFacts& facts,
                 std::vector<std::string>* problems) {
  if (!IsTraining(spec)) return;  // nothing for a worker to do
  const WorkerMemory* largest = nullptr;
  for (const WorkerMemory& w : facts.workers) {
    if (w.memory_bytes <= 0) return;  // may fit
    if (largest == nullptr || w.memory_bytes > largest->memory_bytes) largest = &w;
  }
  if (largest == nullptr) return;
  const int64_t micro = DeriveMicroBatch(spec, largest->memory_bytes);
  const int64_t need = TrainingBytes(spec, micro);
  if (need > largest->memory_bytes) {
    problems->push_back(absl::StrCat(
        "model: needs ", Bytes(need), " on each worker at micro-batch ", micro,
        ", the largest worker (", largest->name, ") has ", Bytes(largest->memory_bytes),
        "; use a smaller preset, sequence length or micro_batch"));
  }
}

}  // namespace

bool IsUnderRoots(const std::string& path, const std::vector<std::string>& roots) {
  if (roots.empty()) return true;
  if (!absl::StartsWith(path, "/")) return false;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return false;
  }
  return std::any_of(roots.begin(), roots.end(), [&](const std::string& root) {
    const std::string prefix = absl::EndsWith(root, "/") ? root : absl::StrCat(root, "/");
    return path == root || absl::StartsWith(path, prefix);
  });
}

absl::Status CheckAdmission(const RunSpec& spec, const AdmissionFacts& facts,
                            const AdmissionOptions& options) {
  if (facts.queued >= options.max_queued) {
    return TypedError(
        absl::StatusCode::kResourceExhausted, v1::ErrorDetail::QUEUE_FULL,
        absl::StrCat(facts.queued, " runs are queued, the limit is ", options.max_queued),
        "wait until some have ended, or cancel some");
  }
  for (const SourceSpec& source : spec.sources) {
    if (IsUnderRoots(source.shards, facts.roots)) continue;
    return TypedError(absl::StatusCode::kInvalidArgument, v1::ErrorDetail::PATH_OUTSIDE_ROOTS,
                      absl::StrCat("data.sources.", source.name, ".shards: ", source.shards,
                                   " lies outside the coordinator's roots (",
                                   absl::StrJoin(facts.roots, ", "), ")"),
                      "move the data or start the coordinator with --root");
  }
  std::vector<std::string> problems;
  if (spec.min_workers > options.max_workers) {
    problems.push_back(absl::StrCat("workers.min: expected at most ", options.max_workers,
                                    ", the workers that a coordinator holds, actual ",
                                    spec.min_workers));
  }
  CheckSources(spec, facts, &problems);
  CheckMemory(spec, facts, &problems);
  if (problems.empty()) return absl::OkStatus();
  return TypedError(absl::StatusCode::kInvalidArgument, v1::ErrorDetail::INVALID_RUN_SPEC,
                    absl::StrJoin(problems, "\n"), "");
}

}  // namespace tritter
