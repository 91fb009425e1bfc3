// Many histories, or one with its trace.
//   bazel run //tests/simulation:simulate -- --seeds=100000
//   bazel run //tests/simulation:simulate -- --seed=4711 --trace
// Exit code 1: a promise was broken; 3: a figure misses its bar (of 10 000 seeds or more).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/figure.h"
#include "common/log.h"
#include "tests/simulation/simulation.h"

namespace tritter::simulation {
namespace {

constexpr char kUsage[] =
    "usage: simulate [--seeds=N] [--first=S] [--seed=S] [--trace] [--weather=mixed|calm|restarts|"
    "storm] [--sqlite=FOLDER]\n";

struct Wanted {
  int64_t first = 1, seeds = 10000;
  SimulationOptions options;
};

bool Parse(int argc, char** argv, Wanted* wanted) {
  static const std::map<std::string, Weather> kWeathers = {{"mixed", Weather::kMixed},
                                                           {"calm", Weather::kCalm},
                                                           {"restarts", Weather::kRestarts},
                                                           {"storm", Weather::kStorm}};
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const std::string value = flag.substr(std::min(flag.size(), flag.find('=') + 1));
    if (flag == "--trace") {
      wanted->options.trace = true;
    } else if (absl::StartsWith(flag, "--seeds=")) {
      if (!absl::SimpleAtoi(value, &wanted->seeds)) return false;
    } else if (absl::StartsWith(flag, "--first=")) {
      if (!absl::SimpleAtoi(value, &wanted->first)) return false;
    } else if (absl::StartsWith(flag, "--seed=")) {
      if (!absl::SimpleAtoi(value, &wanted->first)) return false;
      wanted->seeds = 1;
    } else if (absl::StartsWith(flag, "--sqlite=")) {
      wanted->options.sqlite_folder = value;
    } else if (absl::StartsWith(flag, "--weather=") && kWeathers.contains(value)) {
      wanted->options.weather = kWeathers.at(value);
    } else {
      return false;
    }
  }
  return true;
}

// Fewer make too few failures to be held against the bars.
constexpr int64_t kSeedsOfFigures = 10000;

void PrintFigures(int64_t seeds, int64_t broken, double seconds, const SimulationResult& sum) {
  const std::string of = absl::StrCat(seeds, " seeds");
  PrintFigure(
      {"simulation: failures made", static_cast<double>(sum.failures), "failures", of, ">= 10000"});
  // A sample that is trained twice in committed work, or skipped, breaks one.
  PrintFigure({"simulation: seeds with a broken promise", static_cast<double>(broken), "seeds",
               absl::StrCat(sum.samples_committed, " samples in committed work"), "<= 0"});
  PrintFigure({"simulation: time of 1 000 seeds, one thread",
               1000 * seconds / static_cast<double>(seeds), "s", of, "<= 60"});
}

int Main(int argc, char** argv) {
  Wanted wanted;
  if (!Parse(argc, argv, &wanted)) {
    std::fputs(kUsage, stdout);
    return 2;
  }
  SimulationResult sum;
  int64_t broken = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t seed = wanted.first; seed < wanted.first + wanted.seeds; ++seed) {
    const SimulationResult r = Simulate(static_cast<uint64_t>(seed), wanted.options);
    for (const std::string& line : r.trace) std::printf("%s\n", line.c_str());
    sum.events += r.events;
    sum.steps += r.steps;
    sum.samples_committed += r.samples_committed;
    sum.failures += r.failures;
    sum.epochs_lost += r.epochs_lost;
    sum.epochs_mixed += r.epochs_mixed;
    sum.runs_completed += r.runs_completed;
    sum.simulated_seconds += r.simulated_seconds;
    if (r.broken.empty()) continue;
    ++broken;
    std::printf("seed %lld: %s\n", static_cast<long long>(seed), r.broken.c_str());
    std::fflush(stdout);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf(
      "%lld seeds, %lld with a broken promise; %.1f s, %.0f seeds a minute; simulated: %.1f hours, "
      "%lld events, %lld failures made, %lld epochs lost, %lld of CPUs and GPUs, %lld runs "
      "completed, %lld steps, %lld samples committed\n",
      static_cast<long long>(wanted.seeds), static_cast<long long>(broken), seconds,
      60 * static_cast<double>(wanted.seeds) / seconds, sum.simulated_seconds / 3600,
      static_cast<long long>(sum.events), static_cast<long long>(sum.failures),
      static_cast<long long>(sum.epochs_lost), static_cast<long long>(sum.epochs_mixed),
      static_cast<long long>(sum.runs_completed), static_cast<long long>(sum.steps),
      static_cast<long long>(sum.samples_committed));
  if (wanted.seeds >= kSeedsOfFigures) PrintFigures(wanted.seeds, broken, seconds, sum);
  return broken == 0 ? ConcludeFigures() : 1;
}

}  // namespace
}  // namespace tritter::simulation

int main(int argc, char** argv) {
  // What a coordinator says in a storm is not what is looked for.
  tritter::InitLogging("simulate", tritter::LogLevel::kError);
  if (std::freopen("/dev/null", "w", stderr) == nullptr) return 2;
  return tritter::simulation::Main(argc, argv);
}
