// How much of a machine the coordinator needs for many workers and runs, and how long they wait for
// it: the real program with its real store, real connections over loopback, everything of a worker
// but the training.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/file_limit.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "common/subprocess.h"
#include "curation/shard_writer.h"
#include "nlohmann/json.hpp"
#include "tests/load/load_counts.h"
#include "tests/load/load_worker.h"
#include "tests/load/process_use.h"
#include "tritter/v1/runs.grpc.pb.h"

namespace tritter::load {
namespace {

struct LoadOptions {
  int64_t workers = 1000, probes = 100, runs = 100, queued = 10;
  int64_t seconds = 30, warm_up = 10, start_limit = 120;
  double step_seconds = 0.5;
  int64_t checkpoint_every = 60;  // steps
  std::string folder = "/tmp/tritter-coordinator-load";
  std::string coordinator;  // the program
  std::vector<std::string> arguments;

  int64_t members() const { return (workers - probes) / runs; }
};

absl::Status FromRpc(const grpc::Status& s) {
  return absl::Status(static_cast<absl::StatusCode>(s.error_code()), s.error_message());
}

absl::Status WriteShards(const std::string& folder) {
  ShardWriterOptions options;
  options.source = "random";
  options.tokenizer_hash = std::string(64, 'a');
  options.vocabulary = 264;
  ASSIGN_OR_RETURN(const std::unique_ptr<ShardWriter> writer,
                   ShardWriter::Create(Env::Real(), folder, options));
  const std::vector<int32_t> document(1000, 65);
  for (int i = 0; i < 100; ++i) {
    DocumentToWrite entry;
    entry.tokens = document;
    entry.raw_bytes = document.size();
    RETURN_IF_ERROR(writer->Add(Split::kTrain, entry));
  }
  return writer->Finish({}, {}).status();
}

// The coordinator beside this program, where both were built.
std::string BuiltCoordinator() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / "../../coordinator/tritter_coordinator").lexically_normal();
}

// Owns the process and every worker; one thread.
class Load {
 public:
  explicit Load(LoadOptions options) : options_(std::move(options)) {}
  ~Load();

  absl::Status StartCoordinator();
  absl::Status StartWorkers();
  absl::Status SubmitRuns();
  absl::Status AwaitTraining();
  // Turns of all workers for so long; a process that ends meanwhile is an error.
  absl::Status Run(absl::Duration time);
  absl::Status Measure();

 private:
  absl::Status Submit(const std::string& name, int64_t workers);
  void Print(double seconds, const ProcessUse& before, const ProcessUse& after);
  std::string Log() const { return JoinPath(options_.folder, "coordinator.log"); }

  const LoadOptions options_;
  Clock* const clock_ = Clock::Real();
  LoadCounts counts_;
  std::unique_ptr<Subprocess> process_;
  std::string address_;
  std::unique_ptr<v1::RunService::Stub> runs_;
  std::vector<std::unique_ptr<LoadWorker>> workers_;
  absl::Duration next_turn_;  // of workers_[turn_]
  size_t turn_ = 0;
};

Load::~Load() {
  for (auto& worker : workers_) worker->Stop();
  for (auto& worker : workers_) worker->AwaitStopped();
  if (process_ != nullptr) process_->Stop(absl::Seconds(10));
}

absl::Status Load::StartCoordinator() {
  const std::string ready = JoinPath(options_.folder, "ready.json");
  SubprocessOptions start;
  start.argv = {options_.coordinator, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0",
                absl::StrCat("--data-dir=", JoinPath(options_.folder, "data")),
                absl::StrCat("--ready-file=", ready)};
  start.argv.insert(start.argv.end(), options_.arguments.begin(), options_.arguments.end());
  start.output = SubprocessOptions::Output::kFile;
  start.output_path = Log();
  ASSIGN_OR_RETURN(process_, Subprocess::Start(start));
  const absl::Duration end = clock_->Monotonic() + absl::Seconds(60);
  while (address_.empty()) {
    if (const auto exit = process_->Poll()) {
      return absl::InternalError(absl::StrCat(
          "the coordinator ended before it was ready: ", exit->ToString(), "; see ", Log()));
    }
    if (clock_->Monotonic() > end)
      return absl::DeadlineExceededError(absl::StrCat(ready, " did not appear within 60 s"));
    clock_->Sleep(absl::Milliseconds(10));
    const auto text = Env::Real()->ReadFile(ready);
    if (!text.ok()) continue;
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    if (!json.is_discarded() && json.contains("address")) address_ = json["address"];
  }
  runs_ =
      v1::RunService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  return absl::OkStatus();
}

absl::Status Load::StartWorkers() {
  for (int64_t i = 0; i < options_.workers; ++i) {
    LoadWorkerOptions worker;
    worker.address = address_;
    worker.name = absl::StrFormat("worker-%05d", i);
    worker.incarnation = static_cast<uint64_t>(i) + 1;
    worker.step_seconds = options_.step_seconds;
    worker.probe = i >= options_.workers - options_.probes;
    worker.env = Env::Real();
    worker.clock = clock_;
    worker.counts = &counts_;
    workers_.push_back(std::make_unique<LoadWorker>(worker));
    workers_.back()->Start();
    clock_->Sleep(absl::Milliseconds(2));
  }
  next_turn_ = clock_->Monotonic();
  return absl::OkStatus();
}

absl::Status Load::Submit(const std::string& name, int64_t workers) {
  grpc::ClientContext context;
  v1::SubmitRunRequest request;
  v1::SubmitRunResponse response;
  request.set_base_dir(options_.folder);
  request.set_yaml(
      absl::StrCat("name: ", name, "\nmodel: {preset: nano, vocab: 264}\n",
                   "data: {sources: [{name: random, shards: shards, max_epochs: 1000000000}]}\n",
                   "training: {steps: 1000000, sequence_length: 64, global_batch: ",
                   std::max<int64_t>(16, workers), "}\nworkers: {min: ", workers,
                   ", max: ", workers, "}\ncheckpoint: {every: ", options_.checkpoint_every,
                   ", keep: 2}\nevaluation: {every: ", options_.checkpoint_every, "}\n"));
  return FromRpc(runs_->SubmitRun(&context, request, &response));
}

absl::Status Load::SubmitRuns() {
  for (int64_t i = 0; i < options_.runs; ++i) {
    RETURN_IF_ERROR(Submit(absl::StrCat("run-", i), options_.members()));
    RETURN_IF_ERROR(Run(absl::Milliseconds(20)));
  }
  // These wait behind the others: whoever decides has them to look at in every round.
  for (int64_t i = 0; i < options_.queued; ++i) {
    RETURN_IF_ERROR(Submit(absl::StrCat("queued-", i), options_.members()));
    RETURN_IF_ERROR(Run(absl::Milliseconds(20)));
  }
  return absl::OkStatus();
}

absl::Status Load::AwaitTraining() {
  const int64_t expected = options_.runs * options_.members();
  const absl::Duration end = clock_->Monotonic() + absl::Seconds(options_.start_limit);
  while (true) {
    RETURN_IF_ERROR(Run(absl::Milliseconds(500)));
    int64_t training = 0, connected = 0;
    for (const auto& worker : workers_) {
      training += worker->training();
      connected += worker->connected();
    }
    if (training == expected && connected == options_.workers) return absl::OkStatus();
    if (clock_->Monotonic() < end) continue;
    std::string failures;
    for (const auto& [what, n] : counts_.Failures())
      absl::StrAppend(&failures, "\n", n, " × ", what);
    return absl::DeadlineExceededError(absl::StrCat(
        connected, " of ", options_.workers, " workers are connected and ", training, " of ",
        expected, " train after ", options_.start_limit, " s; see ", Log(), failures));
  }
}

absl::Status Load::Run(absl::Duration time) {
  const absl::Duration end = clock_->Monotonic() + time;
  const absl::Duration gap = absl::Seconds(1) / static_cast<double>(workers_.size());
  while (clock_->Monotonic() < end) {
    for (; next_turn_ <= clock_->Monotonic(); next_turn_ += gap) {
      workers_[turn_]->Turn();
      turn_ = (turn_ + 1) % workers_.size();
    }
    clock_->Sleep(std::min(absl::Milliseconds(2), std::max(gap, absl::Microseconds(100))));
  }
  if (const auto exit = process_->Poll()) {
    return absl::InternalError(
        absl::StrCat("the coordinator ended: ", exit->ToString(), "; see ", Log()));
  }
  return absl::OkStatus();
}

absl::Status Load::Measure() {
  RETURN_IF_ERROR(Run(absl::Seconds(options_.warm_up)));
  counts_.TakeCalls();
  ASSIGN_OR_RETURN(const ProcessUse before, ReadProcessUse(process_->pid()));
  const absl::Duration began = clock_->Monotonic();
  RETURN_IF_ERROR(Run(absl::Seconds(options_.seconds)));
  ASSIGN_OR_RETURN(const ProcessUse after, ReadProcessUse(process_->pid()));
  Print(absl::ToDoubleSeconds(clock_->Monotonic() - began), before, after);
  int64_t unanswered = 0;
  for (const auto& worker : workers_) unanswered += std::max<int64_t>(0, worker->Unanswered() - 2);
  if (unanswered > 0) {
    counts_.Failed(kHeartbeatCall,
                   absl::UnavailableError(absl::StrCat(unanswered, " got no answer")));
  }
  const std::map<std::string, int64_t> failures = counts_.Failures();
  for (const auto& [what, n] : failures) std::fprintf(stderr, "%ld × %s\n", n, what.c_str());
  if (failures.empty()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("calls failed (above); see ", Log()));
}

void Load::Print(double seconds, const ProcessUse& before, const ProcessUse& after) {
  constexpr double kMegabyte = 1e6;
  const std::string what = absl::StrCat(options_.workers, " workers, ", options_.runs,
                                        " runs at work, ", options_.queued, " queued");
  std::map<std::string, CallFigures> calls = counts_.TakeCalls();
  for (const auto& [call, f] : calls) {
    std::printf("%-10s %8.1f/s  p50 %7.2f ms  p99 %7.2f ms  longest %7.2f ms (%zu timed)\n",
                call.c_str(), static_cast<double>(f.calls) / seconds, f.Percentile(0.5),
                f.Percentile(0.99), f.Percentile(1), f.milliseconds.size());
  }
  std::printf("threads: %ld; resident at the end: %.1f MB\n", after.threads,
              static_cast<double>(after.resident_bytes) / kMegabyte);
  const double core = absl::ToDoubleSeconds(after.processor - before.processor) / seconds * 100;
  const std::string time = absl::StrFormat("over %.0f s", seconds);
  const CallFigures& beat = calls[kHeartbeatCall];
  PrintFigure({absl::StrCat("coordinator, ", what, ": share of a core"), core, "%", time, "<= 50"});
  PrintFigure({absl::StrCat("coordinator, ", what, ": heartbeat, there and back, p50"),
               beat.Percentile(0.5), "ms", time, ""});
  PrintFigure({absl::StrCat("coordinator, ", what, ": heartbeat, there and back, p99"),
               beat.Percentile(0.99), "ms", time, "<= 20"});
  PrintFigure({absl::StrCat("coordinator, ", what, ": memory, highest resident"),
               static_cast<double>(after.peak_resident_bytes) / kMegabyte, "MB", time, "<= 300"});
}

absl::Status Perform(const LoadOptions& options) {
  if (options.members() < 1) {
    return absl::InvalidArgumentError(absl::StrCat("--workers ", options.workers, " less --probes ",
                                                   options.probes, " are fewer than --runs ",
                                                   options.runs, "; every run needs one"));
  }
  RETURN_IF_ERROR(Env::Real()->RemoveTree(options.folder));
  RETURN_IF_ERROR(Env::Real()->CreateDirs(options.folder));
  RETURN_IF_ERROR(WriteShards(JoinPath(options.folder, "shards")));
  Load load(options);
  RETURN_IF_ERROR(load.StartCoordinator());
  RETURN_IF_ERROR(load.StartWorkers());
  RETURN_IF_ERROR(load.SubmitRuns());
  RETURN_IF_ERROR(load.AwaitTraining());
  return load.Measure();
}

int Main(int argc, char** argv) {
  CommandLine app(
      "Loads a coordinator with workers and runs; prints what it needs and how fast it "
      "answers. Exit code 1 when a call failed or a session ended, 3 when a bar was missed.");
  LoadOptions o;
  o.coordinator = BuiltCoordinator();
  app.AddFlag("--workers", &o.workers, "connections, each with a heartbeat a second").Positive();
  app.AddFlag("--probes", &o.probes, "of those, idle ones whose heartbeats are timed").Positive();
  app.AddFlag("--runs", &o.runs, "runs at work, of equally many workers").Positive();
  app.AddFlag("--queued", &o.queued, "runs that wait for workers").NonNegative();
  app.AddFlag("--seconds", &o.seconds, "measured").Positive();
  app.AddFlag("--warm-up", &o.warm_up, "seconds before").NonNegative();
  app.AddFlag("--start-limit", &o.start_limit, "seconds until all train").Positive();
  app.AddFlag("--step-seconds", &o.step_seconds, "of every run").Positive();
  app.AddFlag("--checkpoint-every", &o.checkpoint_every, "steps").Positive();
  app.AddFlag("--dir", &o.folder, "scratch folder, removed before; log and store stay in it");
  app.AddFlag("--coordinator", &o.coordinator, "the program");
  app.AddFlag("--argument", &o.arguments, "one more for the coordinator (repeatable)");
  if (const std::optional<int> exit_code = ParseFlags(&app, argc, argv)) return *exit_code;
  RaiseFileLimit();
  const absl::Status status = Perform(o);
  if (status.ok()) return ConcludeFigures();
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace tritter::load

int main(int argc, char** argv) { return tritter::load::Main(argc, argv); }
