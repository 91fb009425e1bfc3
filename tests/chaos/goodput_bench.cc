// Share of the undisturbed speed that is left of the quick start's run, started with `tritterctl
// local`, when one of its workers is killed every minute.
// usage: goodput_bench [--steps N] [--kill-every 60] [--seed 1]
// Exit code 3: a bar was missed.
#include <signal.h>

#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "common/subprocess.h"
#include "grpcpp/grpcpp.h"
#include "nlohmann/json.hpp"
#include "proto/tritter/v1/runs.grpc.pb.h"
#include "tests/e2e/cluster.h"

namespace tritter::chaos {
namespace {

struct Options {
  int64_t steps = 1000;
  double kill_every = 60;
  uint64_t seed = 1;
};

struct Training {
  double seconds = 0;  // from the first step to the last one, as seen ten times a second
  int kills = 0;
  v1::Run run;
};

nlohmann::json ReadyFile(const std::string& dir, const std::string& name) {
  const auto text = Env::Real()->ReadFile(JoinPath(dir, name + ".ready.json"));
  return nlohmann::json::parse(text.value_or(""), nullptr, false);
}

absl::StatusOr<Training> Train(const Options& options, const std::string& folder,
                               const std::string& name, double kill_every) {
  const std::string dir = JoinPath(folder, name);
  SubprocessOptions local;
  local.argv = {e2e::Binary("tritterctl"), "local", JoinPath(folder, "run.yaml"), "--dir", dir};
  local.output = SubprocessOptions::Output::kFile;
  local.output_path = JoinPath(folder, name + ".log");
  ASSIGN_OR_RETURN(const auto process, Subprocess::Start(local));
  std::unique_ptr<v1::RunService::Stub> runs;
  Philox random(options.seed);
  Training out;
  absl::Duration began = absl::InfiniteDuration(), next = absl::InfiniteDuration();
  while (!process->Poll()) {
    Clock::Real()->Sleep(absl::Milliseconds(100));
    const absl::Duration now = Clock::Real()->Monotonic();
    if (runs == nullptr) {
      const nlohmann::json ready = ReadyFile(dir, "coordinator");
      if (!ready.is_object()) continue;
      runs = v1::RunService::NewStub(grpc::CreateChannel(ready["address"].get<std::string>(),
                                                         grpc::InsecureChannelCredentials()));
    }
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    v1::GetRunRequest request;
    request.set_run("shakespeare-nano");
    v1::Run run;
    if (!runs->GetRun(&context, request, &run).ok()) continue;
    out.run = run;
    if (began == absl::InfiniteDuration() && run.step() > 0) {
      began = now;
      if (kill_every > 0) next = now + absl::Seconds(kill_every / 2);
    }
    if (run.step() >= run.total_steps()) {
      if (out.seconds == 0) out.seconds = absl::ToDoubleSeconds(now - began);
    } else if (now >= next) {
      const std::string victim = absl::StrCat("worker-", random.Below(2));
      const nlohmann::json ready = ReadyFile(dir, victim);
      if (!ready.is_object()) continue;
      ::kill(ready["pid"].get<pid_t>(), SIGKILL);
      ++out.kills;
      next += absl::Seconds(kill_every);
      std::printf("%s killed at step %d\n", victim.c_str(), static_cast<int>(run.step()));
      std::fflush(stdout);
    }
  }
  if (process->Poll()->ok() && out.seconds > 0) return out;
  return absl::InternalError(absl::StrCat("tritterctl local ended with ",
                                          process->Poll()->ToString(), ":\n",
                                          Env::Real()->ReadFile(local.output_path).value_or("")));
}

absl::Status Bench(const Options& options) {
  const std::string folder = e2e::TempFolder("goodput_bench");
  RETURN_IF_ERROR(e2e::MakeShards(folder));
  ASSIGN_OR_RETURN(std::string yaml, Env::Real()->ReadFile("examples/shakespeare/run.yaml"));
  yaml = absl::StrReplaceAll(
      yaml, {{"steps: 1000", absl::StrCat("steps: ", options.steps)},
             {"max_epochs: 20", absl::StrCat("max_epochs: ", 20 + options.steps / 40)}});
  RETURN_IF_ERROR(WriteFileAtomically(Env::Real(), JoinPath(folder, "run.yaml"), yaml));
  ASSIGN_OR_RETURN(const Training undisturbed, Train(options, folder, "undisturbed", 0));
  std::printf("undisturbed: %.1f s\n", undisturbed.seconds);
  std::fflush(stdout);
  ASSIGN_OR_RETURN(const Training disturbed,
                   Train(options, folder, "disturbed", options.kill_every));
  PrintFigure({absl::StrCat("goodput of the quick start's run with a worker killed every ",
                            options.kill_every, " s"),
               100 * undisturbed.seconds / disturbed.seconds, "%",
               absl::StrCat(disturbed.kills, " kills; ", disturbed.seconds, " s for ",
                            options.steps, " steps, undisturbed ", undisturbed.seconds, " s"),
               ">= 80"});
  ASSIGN_OR_RETURN(const e2e::State a, e2e::ReadState(undisturbed.run.run_dir(), options.steps));
  ASSIGN_OR_RETURN(const e2e::State b, e2e::ReadState(disturbed.run.run_dir(), options.steps));
  const std::string difference = e2e::Difference(a, b);
  if (difference.empty()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the weights are not those of the undisturbed run: ", difference));
}

int Main(int argc, char** argv) {
  Options options;
  CommandLine app("Measures what kills cost a training run.");
  app.AddFlag("--steps", &options.steps, "of the run");
  app.AddFlag("--kill-every", &options.kill_every, "seconds");
  app.AddFlag("--seed", &options.seed, "of the victims");
  if (const std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  const absl::Status status = Bench(options);
  if (status.ok()) return ConcludeFigures();
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace tritter::chaos

int main(int argc, char** argv) { return tritter::chaos::Main(argc, argv); }
