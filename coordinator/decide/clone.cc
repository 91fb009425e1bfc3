#include "coordinator/decide/clone.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config.h"

namespace tritter {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::Status CheckParameters(const RunSpec& base, const RunSpec& next) {
  std::map<std::string, std::vector<int64_t>> there;
  for (const ParameterSpec& p : ParameterTable(base.model)) there[p.name] = p.shape;
  const auto differs = [&](const std::string& what) {
    return absl::InvalidArgumentError(
        absl::StrCat("clone.run: ", what, "; what is cloned has the model of run ", next.clone_run,
                     ": `tritterctl describe` shows its configuration"));
  };
  for (const ParameterSpec& p : ParameterTable(next.model)) {
    const auto it = there.find(p.name);
    if (it == there.end())
      return differs(absl::StrCat("run ", next.clone_run, " has no parameter ", p.name));
    if (it->second != p.shape) {
      return differs(absl::StrCat("parameter ", p.name, " is ", ShapeText(it->second), " in run ",
                                  next.clone_run, " and ", ShapeText(p.shape), " here"));
    }
    there.erase(it);
  }
  if (!there.empty()) {
    return differs(absl::StrCat("parameter ", there.begin()->first, " of run ", next.clone_run,
                                " is not in this model"));
  }
  return absl::OkStatus();
}

absl::Status CheckOptimizer(const RunSpec& base, const RunSpec& next) {
  if (base.optimizer == next.optimizer && base.moments == next.moments) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "clone.run: what is cloned has the optimiser of run ", next.clone_run, ", which is ",
      base.optimizer, " with moments in ", base.moments, ", actual ", next.optimizer,
      " with moments in ", next.moments, "; `clone.weights_only: true` takes the weights alone"));
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> DecideClone(const RunSpec& base, const RunSpec& next,
                                                 absl::Span<const int64_t> committed) {
  if (!IsTraining(base)) {
    return absl::InvalidArgumentError(absl::StrCat("clone.run: run ", next.clone_run, " is a job ",
                                                   base.job, ", expected one that trains"));
  }
  if (absl::Status s = CheckParameters(base, next); !s.ok()) return s;
  const bool weights_only = next.clone_weights_only;
  if (absl::Status s = CheckOptimizer(base, next); !weights_only && !s.ok()) return s;
  const std::string there = committed.empty() ? "it has no checkpoint"
                                              : absl::StrCat("its checkpoints are of steps ",
                                                             absl::StrJoin(committed, ", "));
  std::vector<int64_t> steps;
  for (const int64_t step : committed) {
    if (next.clone_step != 0 && step != next.clone_step) continue;
    if (weights_only || step < next.steps) steps.insert(steps.begin(), step);
  }
  if (!steps.empty()) return steps;
  if (next.clone_step != 0 &&
      std::find(committed.begin(), committed.end(), next.clone_step) == committed.end()) {
    return absl::FailedPreconditionError(absl::StrCat("clone.step: run ", next.clone_run,
                                                      " has no checkpoint of step ",
                                                      next.clone_step, "; ", there));
  }
  if (committed.empty())
    return absl::FailedPreconditionError(
        absl::StrCat("clone.run: run ", next.clone_run, " cannot be cloned: ", there));
  return absl::FailedPreconditionError(absl::StrCat(
      "clone.run: training.steps is ", next.steps, " and training goes on at the cloned step; ",
      there,
      "; give more steps, an earlier clone.step, or `weights_only: true` to begin at step 0"));
}

}  // namespace tritter
