#include "tests/chaos/scene.h"

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
    RETURN_IF_ERROR(
        cluster
            .WaitFor(run,
                     [](const v1::Run& r) { return r.step() > 25 && r.committed_step() >= 20; })
            .status());
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
