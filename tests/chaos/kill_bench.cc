// Many real kills: are samples trained twice, or skipped, in the work that is committed?
// usage: kill_bench [--kills 200] [--seed 1]
// Exit code 3: a bar was missed.
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/figure.h"
#include "common/flags.h"
#include "tests/chaos/campaign.h"
#include "tests/e2e/cluster.h"

namespace tritter::chaos {
namespace {

int Main(int argc, char** argv) {
  CampaignOptions options;
  uint64_t seed = 1;
  CommandLine app(
      "Kills workers and coordinators of training runs and compares what they trained.");
  app.AddFlag("--kills", &options.kills, "processes ended by SIGKILL");
  app.AddFlag("--seed", &seed, "of victims and moments");
  if (const std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  options.seed = seed;
  options.folder = e2e::TempFolder("kill_bench");
  const auto tally = RunCampaign(options, [](const CampaignTally& t) {
    std::printf(
        "%d runs, %d kills (%d of workers, %d of the coordinator), %d epochs lost, "
        "%d steps differ\n",
        static_cast<int>(t.runs), static_cast<int>(t.kills()), static_cast<int>(t.worker_kills),
        static_cast<int>(t.coordinator_kills), static_cast<int>(t.epochs_lost),
        static_cast<int>(t.steps_that_differ));
    std::fflush(stdout);
  });
  if (!tally.ok()) {
    std::fprintf(stderr, "%s\n", tally.status().ToString().c_str());
    return 1;
  }
  if (!tally->first_difference.empty())
    std::printf("first difference: %s\n", tally->first_difference.c_str());
  const std::string kills =
      absl::StrCat(tally->kills(), " kills (", tally->worker_kills, " of workers, ",
                   tally->coordinator_kills, " of the coordinator) in ", tally->runs, " runs");
  PrintFigure({"steps whose samples, loss or gradient norm are not those of the undisturbed run",
               static_cast<double>(tally->steps_that_differ), "steps", kills, "<= 0"});
  PrintFigure({"runs whose final weights are not those of the undisturbed run, bit for bit",
               static_cast<double>(tally->states_that_differ), "runs", kills, "<= 0"});
  return ConcludeFigures();
}

}  // namespace
}  // namespace tritter::chaos

int main(int argc, char** argv) { return tritter::chaos::Main(argc, argv); }
