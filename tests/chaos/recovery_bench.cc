// How long until the loss of a process, of a host or of the coordinator is noticed, and until the
// run trains again. usage: recovery_bench [--rounds 5] [--only
// killed|spare|stopped|cut|coordinator]
// Exit code 3: a bar was missed.
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "tests/chaos/course.h"
#include "tests/chaos/faulty_network.h"
#include "tests/chaos/isolation.h"
#include "tests/chaos/scene.h"
#include "tests/e2e/cluster.h"

namespace tritter::chaos {
namespace {

// Seconds after the blow.
struct Recovery {
  double noticed = 0;   // the coordinator's event
  double training = 0;  // the end of the first step of the next epoch
};

struct Bench {
  explicit Bench(const std::string& folder) : cluster(folder), folder(folder) {}

  // The quick start's shape, without an end.
  absl::Status Begin(const std::string& name, int workers, const e2e::Launch& coordinator,
                     const std::function<e2e::Launch(int)>& launch) {
    RETURN_IF_ERROR(e2e::MakeShards(folder));
    RETURN_IF_ERROR(cluster.StartCoordinator(coordinator));
    for (int i = 0; i < workers; ++i)
      RETURN_IF_ERROR(cluster.StartWorker(absl::StrCat("w", i), launch(i)));
    const std::string yaml = e2e::RunYaml(name, {{"steps", "20000"},
                                                 {"sequence_length", "128"},
                                                 {"global_batch", "16"},
                                                 {"micro_batch", "8"},
                                                 {"every", "100"},
                                                 {"evaluate", "20000"},
                                                 {"export", "{}"}});
    ASSIGN_OR_RETURN(run, cluster.Submit(absl::StrReplaceAll(
                              yaml, {{"shards: shards}", "shards: shards, max_epochs: 1000}"}})));
    return AwaitTraining(cluster, run, 20).status();
  }

  absl::StatusOr<int64_t> LastEvent() {
    ASSIGN_OR_RETURN(const auto events, Events(0));
    return events.empty() ? 0 : events.back().id();
  }

  absl::StatusOr<std::vector<v1::Event>> Events(int64_t after) {
    grpc::ClientContext context;
    v1::ListEventsRequest request;
    request.set_run(run);
    request.set_after_id(after);
    request.set_limit(10000);
    v1::ListEventsResponse response;
    const grpc::Status s = cluster.runs().ListEvents(&context, request, &response);
    if (!s.ok())
      return absl::Status(static_cast<absl::StatusCode>(s.error_code()), s.error_message());
    return std::vector<v1::Event>(response.events().begin(), response.events().end());
  }

  // `after`: the newest event before the blow at `at`.
  absl::StatusOr<Recovery> Measure(absl::Time at, int64_t after, uint64_t epoch) {
    RETURN_IF_ERROR(AwaitTraining(cluster, run, -1, epoch + 1).status());
    Recovery out;
    ASSIGN_OR_RETURN(const auto events, Events(after));
    for (const v1::Event& e : events) {
      if (e.kind() != "worker_lost" || out.noticed != 0) continue;
      out.noticed = absl::ToDoubleSeconds(absl::FromUnixMillis(e.time_ms()) - at);
    }
    const absl::Duration end = Clock::Real()->Monotonic() + absl::Seconds(60);
    while (out.training == 0 && Clock::Real()->Monotonic() < end) {
      Clock::Real()->Sleep(absl::Milliseconds(200));
      Course course;
      RETURN_IF_ERROR(ReadSteps(cluster, run, &course));
      for (const v1::StepMetrics& m : course.steps) {
        if (m.epoch() <= epoch || out.training != 0) continue;
        out.training = absl::ToDoubleSeconds(absl::FromUnixMillis(m.time_ms()) - at);
      }
    }
    if (out.training == 0) return absl::DeadlineExceededError("no step of the next epoch");
    return out;
  }

  e2e::Cluster cluster;
  std::string folder, run;
};

void Print(const std::string& what, const std::vector<Recovery>& all, const char* noticed_bar,
           const char* training_bar) {
  std::vector<double> noticed, training;
  double worst_noticed = 0, worst_training = 0;
  for (const Recovery& r : all) {
    noticed.push_back(r.noticed);
    training.push_back(r.training);
    worst_noticed = std::max(worst_noticed, r.noticed);
    worst_training = std::max(worst_training, r.training);
  }
  PrintFigure({absl::StrCat(what, " -> noticed, worst"), worst_noticed, "s",
               absl::StrCat("median ", Median(noticed), " of ", all.size()), noticed_bar});
  PrintFigure({absl::StrCat(what, " -> training again, worst"), worst_training, "s",
               absl::StrCat("median ", Median(training), " of ", all.size(),
                            ", loading the checkpoint included"),
               training_bar});
}

absl::Status Killed(int rounds, bool spare) {
  Bench bench(e2e::TempFolder(spare ? "bench-spare" : "bench-killed"));
  RETURN_IF_ERROR(bench.Begin("killed", 2 + spare, {}, [](int) { return e2e::Launch(); }));
  std::vector<Recovery> all;
  for (int i = 0; i < rounds; ++i) {
    ASSIGN_OR_RETURN(v1::Run now, bench.cluster.Get(bench.run));
    ASSIGN_OR_RETURN(now, AwaitTraining(bench.cluster, bench.run, now.step() + 30));
    ASSIGN_OR_RETURN(const int64_t event, bench.LastEvent());
    const std::string victim = now.members(static_cast<int>(i) % now.members_size()).worker();
    const absl::Time at = absl::Now();
    bench.cluster.KillWorker(victim);
    if (!spare) RETURN_IF_ERROR(bench.cluster.StartWorker(victim));  // as a supervisor does
    ASSIGN_OR_RETURN(const Recovery r, bench.Measure(at, event, now.epoch()));
    all.push_back(r);
    if (spare) RETURN_IF_ERROR(bench.cluster.StartWorker(victim));
  }
  Print(spare ? "killed process, another worker is free" : "killed process, started again at once",
        all, "<= 1", "<= 8");
  return absl::OkStatus();
}

// A host that says nothing more, by `silence`; another worker is free.
absl::Status Silent(const std::string& what, Bench* bench, int rounds,
                    const std::function<void(const std::string& worker, bool silent)>& silence) {
  std::vector<Recovery> all;
  for (int i = 0; i < rounds; ++i) {
    ASSIGN_OR_RETURN(v1::Run now, bench->cluster.Get(bench->run));
    ASSIGN_OR_RETURN(now, AwaitTraining(bench->cluster, bench->run, now.step() + 30));
    ASSIGN_OR_RETURN(const int64_t event, bench->LastEvent());
    const std::string victim = now.members(static_cast<int>(i) % now.members_size()).worker();
    const absl::Time at = absl::Now();
    silence(victim, true);
    const absl::StatusOr<Recovery> r = bench->Measure(at, event, now.epoch());
    silence(victim, false);
    RETURN_IF_ERROR(r.status());
    all.push_back(*r);
    Clock::Real()->Sleep(absl::Seconds(4));  // it is a free worker again
  }
  Print(what, all, "<= 6", "<= 15");
  return absl::OkStatus();
}

absl::Status Stopped(int rounds) {
  Bench bench(e2e::TempFolder("bench-stopped"));
  RETURN_IF_ERROR(bench.Begin("stopped", 3, {}, [](int) { return e2e::Launch(); }));
  return Silent("silent process (SIGSTOP)", &bench, rounds,
                [&](const std::string& worker, bool silent) {
                  bench.cluster.worker(worker)->Signal(silent ? SIGSTOP : SIGCONT);
                });
}

absl::Status Cut(int rounds) {
  ASSIGN_OR_RETURN(const auto network, FaultyNetwork::Create(4, 1));
  Bench bench(e2e::TempFolder("bench-cut"));
  e2e::Launch coordinator;
  coordinator.host = network->address(0);
  coordinator.flags = {"--insecure"};
  RETURN_IF_ERROR(bench.Begin("cut", 3, coordinator, [&](int worker) {
    e2e::Launch launch;
    launch.prefix = network->Enter(worker + 1);
    launch.flags = {"--insecure", "--collective-network", "trusted", "--advertise-host",
                    network->address(worker + 1)};
    return launch;
  }));
  return Silent("silent host (cable cut)", &bench, rounds,
                [&](const std::string& worker, bool silent) {
                  network->Set(worker[1] - '0' + 1, {.cut = silent});
                });
}

absl::Status CoordinatorRestarts(int rounds) {
  Bench bench(e2e::TempFolder("bench-coordinator"));
  RETURN_IF_ERROR(bench.Begin("coordinator", 2, {}, [](int) { return e2e::Launch(); }));
  // Plans of full length, so that they last longer than the coordinator is away.
  ASSIGN_OR_RETURN(v1::Run now, AwaitTraining(bench.cluster, bench.run, 200));
  const uint64_t epoch = now.epoch();
  double worst = 0, usual = 0, times_usual = 0;  // of the restart that held a step up the most
  for (int i = 0; i < rounds; ++i) {
    ASSIGN_OR_RETURN(now, bench.cluster.Get(bench.run));
    ASSIGN_OR_RETURN(now, AwaitTraining(bench.cluster, bench.run, now.step() + 20));
    const int64_t from = now.step();
    bench.cluster.KillCoordinator();
    RETURN_IF_ERROR(bench.cluster.StartCoordinator());
    ASSIGN_OR_RETURN(now, AwaitTraining(bench.cluster, bench.run, from + 60));
    Clock::Real()->Sleep(absl::Seconds(3));  // until these steps are reported
    Course course;
    RETURN_IF_ERROR(ReadSteps(bench.cluster, bench.run, &course));
    double before = 0, meanwhile = 0;
    for (const v1::StepMetrics& m : course.steps) {
      if (m.step() >= from - 100 && m.step() < from) before = std::max(before, m.step_seconds());
      if (m.step() >= from && m.step() <= from + 60)
        meanwhile = std::max(meanwhile, m.step_seconds());
    }
    if (meanwhile < times_usual * before) continue;
    worst = meanwhile;
    usual = before;
    times_usual = meanwhile / before;
  }
  ASSIGN_OR_RETURN(now, bench.cluster.Get(bench.run));
  // A step that waited for the coordinator would last as long as that was away, ten steps or more;
  // twice as long as before is what a process that starts on the same cores may cost.
  PrintFigure(
      {"coordinator killed and started again -> longest step meanwhile, against the longest "
       "of 100 before",
       times_usual, "x",
       absl::StrFormat("%.3f s against %.3f s, %d restarts", worst, usual, rounds), "<= 2"});
  PrintFigure({"coordinator killed and started again -> epochs that ended for it",
               static_cast<double>(now.epoch() - epoch), "epochs",
               absl::StrCat(rounds, " restarts"), "<= 0"});
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  int rounds = 5;
  std::string only;
  CommandLine app("Measures how fast training recovers from losses.");
  app.AddFlag("--rounds", &rounds, "blows of each kind");
  app.AddFlag("--only", &only, "killed, spare, stopped, cut or coordinator; empty: all");
  if (const std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  const absl::Status isolated = Isolate();
  const auto report = [](const char* what, const absl::Status& status) {
    if (!status.ok()) std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
    return !status.ok();
  };
  bool failed = false;
  const auto wanted = [&](const char* name) { return only.empty() || only == name; };
  if (wanted("killed")) failed |= report("killed", Killed(rounds, false));
  if (wanted("spare")) failed |= report("spare", Killed(rounds, true));
  if (wanted("stopped")) failed |= report("stopped", Stopped(rounds));
  if (wanted("cut")) {
    if (isolated.ok()) {
      failed |= report("cut", Cut(rounds));
    } else {
      std::printf("no cable is cut: %s\n", isolated.ToString().c_str());
    }
  }
  if (wanted("coordinator")) failed |= report("coordinator", CoordinatorRestarts(rounds));
  return failed ? 1 : ConcludeFigures();
}

}  // namespace
}  // namespace tritter::chaos

int main(int argc, char** argv) { return tritter::chaos::Main(argc, argv); }
