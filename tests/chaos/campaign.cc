#include "tests/chaos/campaign.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "tests/chaos/course.h"
#include "tests/chaos/scene.h"
#include "tests/e2e/cluster.h"

namespace tritter::chaos {
namespace {

bool Ended(const v1::Run& run) {
  return run.state() == v1::RUN_STATE_COMPLETED || run.state() == v1::RUN_STATE_FAILED;
}

class Campaign {
 public:
  explicit Campaign(const CampaignOptions& options)
      : options_(options), random_(options.seed), cluster_(options.folder) {}

  absl::StatusOr<CampaignTally> Run(const std::function<void(const CampaignTally&)>& after_run) {
    RETURN_IF_ERROR(e2e::MakeShards(options_.folder));
    RETURN_IF_ERROR(cluster_.StartCoordinator());
    for (const char* name : kWorkers) RETURN_IF_ERROR(cluster_.StartWorker(name));
    ASSIGN_OR_RETURN(const std::string reference, Submit("undisturbed"));
    ASSIGN_OR_RETURN(const Course undisturbed, Finish(reference));
    while (tally_.kills() < options_.kills) {
      ASSIGN_OR_RETURN(const std::string run, Submit(absl::StrCat("disturbed-", tally_.runs + 1)));
      RETURN_IF_ERROR(Disturb(run));
      ASSIGN_OR_RETURN(const Course course, Finish(run));
      ++tally_.runs;
      tally_.epochs_lost += course.run.epochs_lost();
      tally_.steps_that_differ += StepsThatDiffer(undisturbed, course);
      const std::string difference = DifferenceOfWork(undisturbed, course);
      tally_.states_that_differ += !difference.empty();
      if (tally_.first_difference.empty() && !difference.empty())
        tally_.first_difference = absl::StrCat(course.run.name(), ": ", difference);
      if (after_run) after_run(tally_);
    }
    return tally_;
  }

 private:
  static constexpr const char* kWorkers[] = {"w0", "w1"};

  absl::StatusOr<std::string> Submit(const std::string& name) {
    return cluster_.Submit(e2e::RunYaml(name, {{"steps", absl::StrCat(options_.steps)},
                                               {"every", "10"},
                                               {"evaluate", "50"},
                                               {"export", "{}"}}));
  }

  absl::StatusOr<Course> Finish(const std::string& run) {
    ASSIGN_OR_RETURN(const v1::Run end, cluster_.WaitForEnd(run));
    if (end.state() == v1::RUN_STATE_COMPLETED) return ReadCourse(cluster_, run);
    return absl::InternalError(absl::StrCat("seed ", options_.seed, ", ", tally_.kills(),
                                            " kills: ", end.name(), " ", end.reason(), "\n",
                                            cluster_.LogTails()));
  }

  // Blows until the run is at its end, or enough have fallen.
  absl::Status Disturb(const std::string& run) {
    ASSIGN_OR_RETURN(v1::Run now, AwaitTraining(cluster_, run, 0));
    while (!Ended(now) && tally_.kills() < options_.kills) {
      const int64_t target = now.step() + static_cast<int64_t>(random_.Below(options_.most_gap));
      ASSIGN_OR_RETURN(now, AwaitTraining(cluster_, run, target, now.epoch()));
      if (Ended(now)) break;
      ASSIGN_OR_RETURN(const bool worker, Strike());
      // Until it trains again: in the next epoch when a member died, else in this one.
      ASSIGN_OR_RETURN(now, AwaitTraining(cluster_, run, -1, now.epoch() + worker));
    }
    return absl::OkStatus();
  }

  // Whether a worker was among those killed.
  absl::StatusOr<bool> Strike() {
    struct Blow {
      bool coordinator;
      int workers;
    };
    constexpr Blow kBlows[] = {{false, 1}, {false, 1}, {false, 1}, {false, 2},
                               {true, 0},  {true, 0},  {true, 1},  {true, 2}};
    const Blow blow = kBlows[random_.Below(std::size(kBlows))];
    const uint64_t one = random_.Below(2);
    if (blow.coordinator) {
      cluster_.KillCoordinator();
      ++tally_.coordinator_kills;
    }
    for (uint64_t i = 0; i < 2; ++i) {
      if (blow.workers == 0 || (blow.workers == 1 && i != one)) continue;
      cluster_.KillWorker(kWorkers[i]);
      RETURN_IF_ERROR(cluster_.StartWorker(kWorkers[i]));
      ++tally_.worker_kills;
    }
    if (blow.coordinator) RETURN_IF_ERROR(cluster_.StartCoordinator());
    return blow.workers > 0;
  }

  const CampaignOptions options_;
  Philox random_;
  e2e::Cluster cluster_;
  CampaignTally tally_;
};

}  // namespace

absl::StatusOr<CampaignTally> RunCampaign(
    const CampaignOptions& options, const std::function<void(const CampaignTally&)>& after_run) {
  return Campaign(options).Run(after_run);
}

}  // namespace tritter::chaos
