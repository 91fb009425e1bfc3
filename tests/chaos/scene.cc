#include "tests/chaos/scene.h"

#include <signal.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/status_macros.h"

namespace tritter::chaos {

absl::StatusOr<v1::Run> AwaitTraining(e2e::Cluster& cluster, const std::string& run, int64_t step,
                                      uint64_t epoch) {
  return cluster.WaitFor(run, [&](const v1::Run& r) {
    return r.state() == v1::RUN_STATE_COMPLETED || r.state() == v1::RUN_STATE_FAILED ||
           (r.members_size() > 0 && r.step() > step && r.epoch() >= epoch);
  });
}

absl::Status TellToEnd(Subprocess* process) {
  process->Signal(SIGTERM);
  const std::optional<ExitStatus> exit = process->Wait(absl::Minutes(1));
  if (exit.has_value() && exit->ok()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("a process that was told to end: ",
                   exit.has_value() ? exit->ToString() : "still there after a minute"));
}

absl::StatusOr<Course> Play(const Scene& scene) {
  const std::string folder = e2e::TempFolder(scene.name);
  RETURN_IF_ERROR(e2e::MakeShards(folder));
  if (scene.prepare) RETURN_IF_ERROR(scene.prepare(folder));
  e2e::Cluster cluster(folder);
  RETURN_IF_ERROR(cluster.StartCoordinator(scene.coordinator));
  for (int i = 0; i < scene.workers; ++i)
    RETURN_IF_ERROR(cluster.StartWorker(absl::StrCat("w", i), scene.worker(i)));
  std::map<std::string, std::string> overrides = {
      {"steps", absl::StrCat(kSceneSteps)}, {"export", "{}"}, {"evaluate", "40"}};
  for (const auto& [key, value] : scene.overrides) overrides[key] = value;
  ASSIGN_OR_RETURN(const std::string run, cluster.Submit(e2e::RunYaml(scene.name, overrides)));
  if (scene.disturb) {
    const auto under_way = [&](const v1::Run& r) {
      return r.step() > scene.after_step && r.committed_step() >= scene.after_checkpoint;
    };
    RETURN_IF_ERROR(cluster.WaitFor(run, under_way).status());
    if (absl::Status s = scene.disturb(cluster, run); !s.ok())
      return absl::InternalError(absl::StrCat(s.ToString(), "\n", cluster.LogTails()));
  }
  ASSIGN_OR_RETURN(const v1::Run end, cluster.WaitForEnd(run));
  if (end.state() != v1::RUN_STATE_COMPLETED) {
    return absl::InternalError(
        absl::StrCat(v1::RunState_Name(end.state()), ": ", end.reason(), "\n", cluster.LogTails()));
  }
  return ReadCourse(cluster, run);
}

}  // namespace tritter::chaos
