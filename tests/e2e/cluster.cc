#include "tests/e2e/cluster.h"

#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/status_macros.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"
#include "nlohmann/json.hpp"

namespace tritter::e2e {
namespace {

absl::Status FromGrpc(const grpc::Status& s) {
  return absl::Status(static_cast<absl::StatusCode>(s.error_code()), s.error_message());
}

std::string Tail(const std::string& path, size_t bytes = 1500) {
  auto text = Env::Real()->ReadFile(path);
  if (!text.ok()) return "";
  return text->size() > bytes ? text->substr(text->size() - bytes) : *text;
}

absl::StatusOr<std::unique_ptr<Subprocess>> Spawn(const std::vector<std::string>& argv,
                                                  const std::string& log,
                                                  const Launch& launch = {}) {
  SubprocessOptions options;
  options.argv = launch.prefix;
  options.argv.insert(options.argv.end(), argv.begin(), argv.end());
  options.argv.insert(options.argv.end(), launch.flags.begin(), launch.flags.end());
  options.environment = launch.environment;
  options.output = SubprocessOptions::Output::kFile;
  options.output_path = log;
  return Subprocess::Start(options);
}

}  // namespace

std::string Binary(const std::string& name) {
  if (name == "tritter_coordinator") return "coordinator/tritter_coordinator";
  if (name == "tritter_worker") return "worker/tritter_worker";
  if (name == "formula_worker") return "worker/testing/formula_worker";
  if (name == "tritter_inference") return "inference/tritter_inference";
  if (name == "make_model") return "tests/testing/make_model";
  return "tritterctl/tritterctl";
}

std::string TempFolder(const std::string& name) {
  const char* base = std::getenv("TEST_TMPDIR");
  std::string folder = JoinPath(base != nullptr ? base : "/tmp", name);
  (void)Env::Real()->RemoveTree(folder);
  (void)Env::Real()->CreateDirs(folder);
  return folder;
}

absl::Status MakeShards(const std::string& folder) {
  ASSIGN_OR_RETURN(RunResult r,
                   RunCommand({Binary("tritterctl"), "curate", "examples/shakespeare/input.txt",
                               "--out", JoinPath(folder, "shards"), "--split-by", "blank-line",
                               "--heldout-per-mille", "100"}));
  if (!r.exit.ok())
    return absl::InternalError(absl::StrCat("curate: ", r.exit.ToString(), "\n", r.output));
  return absl::OkStatus();
}

std::string RunYaml(const std::string& name, const std::map<std::string, std::string>& overrides) {
  std::map<std::string, std::string> v = {
      {"steps", "60"},       {"sequence_length", "64"},
      {"global_batch", "8"}, {"micro_batch", "4"},
      {"every", "20"},       {"keep", "10"},
      {"min", "2"},          {"max", "2"},
      {"evaluate", "30"},    {"export", "{format: tpack}"},
      {"family", "tritter"},
  };
  for (const auto& [key, value] : overrides) v[key] = value;
  return absl::StrCat(
      "name: ", name, "\nmodel: {preset: nano, vocab: 264, family: ", v["family"], "}\n",
      "data: {sources: [{name: shakespeare, shards: shards}]}\n",
      "training:\n  steps: ", v["steps"], "\n  sequence_length: ", v["sequence_length"],
      "\n  global_batch: ", v["global_batch"], "\n  micro_batch: ", v["micro_batch"],
      "\n  seed: 7\n  learning_rate: {peak: 3.0e-3, warmup: 10}\n", v["training"],
      "workers: {min: ", v["min"], ", max: ", v["max"], "}\n", "checkpoint: {every: ", v["every"],
      ", keep: ", v["keep"], "}\n", "evaluation: {every: ", v["evaluate"],
      "}\nexport: ", v["export"], "\n");
}

absl::StatusOr<std::string> WaitForReady(const std::string& ready_file, Subprocess& process,
                                         const std::string& log) {
  for (int i = 0; i < 3000; ++i) {
    if (auto text = Env::Real()->ReadFile(ready_file); text.ok()) {
      const auto json = nlohmann::json::parse(*text, nullptr, false);
      // A coordinator that stands by has none yet.
      if (!json.is_discarded() && json.contains("address") && json["address"] != "")
        return json["address"].get<std::string>();
    }
    if (auto exit = process.Poll()) {
      return absl::InternalError(absl::StrCat(
          "the process ended before it was ready: ", exit->ToString(), "\n", Tail(log)));
    }
    Clock::Real()->Sleep(absl::Milliseconds(10));
  }
  return absl::DeadlineExceededError(
      absl::StrCat(ready_file, " did not appear within 30 s\n", Tail(log)));
}

absl::Status Cluster::StartCoordinator(const Launch& launch) {
  const std::string ready =
      JoinPath(folder_, absl::StrCat("coordinator-", ++incarnation_, ".json"));
  const std::string log = JoinPath(folder_, "coordinator.log");
  ASSIGN_OR_RETURN(coordinator_, Spawn({Binary("tritter_coordinator"), "--listen",
                                        address_.empty() ? launch.host + ":0" : address_,
                                        "--metrics-listen", "127.0.0.1:0", "--data-dir",
                                        JoinPath(folder_, "data"), "--ready-file", ready},
                                       log, launch));
  ASSIGN_OR_RETURN(const std::string address, WaitForReady(ready, *coordinator_, log));
  Ask(address);
  return absl::OkStatus();
}

void Cluster::Ask(const std::string& address) {
  address_ = address;
  runs_ =
      v1::RunService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
}

absl::Status Cluster::StartWorker(const std::string& name, const Launch& launch) {
  launches_[name] = launch;
  ASSIGN_OR_RETURN(
      workers_[name],
      Spawn({Binary(launch.program), "--coordinator",
             launch.coordinators.empty() ? address_ : launch.coordinators, "--name", name,
             "--threads", "1", "--device", "cpu", "--metrics-listen", "127.0.0.1:0"},
            JoinPath(folder_, absl::StrCat(name, ".log")), launch));
  return absl::OkStatus();
}

absl::Status Cluster::Supervise() {
  constexpr int kWishesRestart = 75;  // kExitRestart of the worker
  for (const auto& [name, launch] : std::map<std::string, Launch>(launches_)) {
    const std::optional<ExitStatus> exit = workers_[name]->Poll();
    if (exit.has_value() && exit->code == kWishesRestart)
      RETURN_IF_ERROR(StartWorker(name, launch));
  }
  return absl::OkStatus();
}

void Cluster::KillCoordinator() { coordinator_->Kill(); }
void Cluster::KillWorker(const std::string& name) { workers_[name]->Kill(); }

absl::StatusOr<std::string> Cluster::Submit(const std::string& yaml) {
  grpc::ClientContext context;
  v1::SubmitRunRequest request;
  request.set_yaml(yaml);
  request.set_file_name("run.yaml");
  request.set_base_dir(folder_);
  v1::SubmitRunResponse response;
  RETURN_IF_ERROR(FromGrpc(runs_->SubmitRun(&context, request, &response)));
  return response.run().run_id();
}

absl::StatusOr<v1::Run> Cluster::Get(const std::string& run) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  v1::GetRunRequest request;
  request.set_run(run);
  v1::Run response;
  RETURN_IF_ERROR(FromGrpc(runs_->GetRun(&context, request, &response)));
  return response;
}

absl::StatusOr<v1::Run> Cluster::WaitFor(const std::string& run,
                                         const std::function<bool(const v1::Run&)>& done,
                                         absl::Duration timeout) {
  const absl::Duration end = Clock::Real()->Monotonic() + timeout;
  absl::StatusOr<v1::Run> last = absl::UnknownError("never asked");
  while (Clock::Real()->Monotonic() < end) {
    RETURN_IF_ERROR(Supervise());
    last = Get(run);
    if (last.ok() && done(*last)) return last;
    Clock::Real()->Sleep(absl::Milliseconds(10));
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "run ", run, ": ", last.ok() ? last->ShortDebugString() : last.status().ToString(), "\n",
      LogTails()));
}

absl::StatusOr<v1::Run> Cluster::WaitForEnd(const std::string& run, absl::Duration timeout) {
  return WaitFor(
      run,
      [](const v1::Run& r) {
        return r.state() == v1::RUN_STATE_COMPLETED || r.state() == v1::RUN_STATE_FAILED ||
               r.state() == v1::RUN_STATE_CANCELLED;
      },
      timeout);
}

std::string Cluster::LogTails() const {
  std::string out = absl::StrCat("--- coordinator\n", Tail(JoinPath(folder_, "coordinator.log")));
  for (const auto& [name, process] : workers_) {
    absl::StrAppend(&out, "--- ", name, "\n", Tail(JoinPath(folder_, absl::StrCat(name, ".log"))));
  }
  return out;
}

absl::StatusOr<std::unique_ptr<ModelServer>> ModelServer::Start(
    const std::string& folder, const std::vector<std::string>& flags) {
  auto server = std::make_unique<ModelServer>();
  const std::string ready = JoinPath(folder, "inference.json"),
                    log = JoinPath(folder, "inference.log");
  (void)Env::Real()->RemoveFile(ready);
  std::vector<std::string> argv = {Binary("tritter_inference"),
                                   "--listen",
                                   "127.0.0.1:0",
                                   "--metrics-listen",
                                   "127.0.0.1:0",
                                   "--threads",
                                   "1",
                                   "--ready-file",
                                   ready};
  argv.insert(argv.end(), flags.begin(), flags.end());
  ASSIGN_OR_RETURN(server->process_, Spawn(std::move(argv), log));
  ASSIGN_OR_RETURN(server->address_, WaitForReady(ready, *server->process_, log));
  server->stub_ = v1::InferenceService::NewStub(
      grpc::CreateChannel(server->address_, grpc::InsecureChannelCredentials()));
  return server;
}

absl::StatusOr<State> ReadState(const std::string& run_dir, int64_t step) {
  ASSIGN_OR_RETURN(const auto checkpoint, CheckpointsOfRun(Env::Real(), run_dir)->Open(step));
  RETURN_IF_ERROR(VerifyCheckpoint(*checkpoint));
  State state;
  for (const ManifestFile& file : checkpoint->manifest().files) {
    ASSIGN_OR_RETURN(auto mapped, checkpoint->Open(file.name));
    ASSIGN_OR_RETURN(auto share, SafetensorsFile::Open(std::move(mapped), file.name));
    for (const std::string& name : share->names()) {
      ASSIGN_OR_RETURN(TensorView t, share->Get(name));
      if (!state
               .emplace(name,
                        std::string(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size()))
               .second) {
        return absl::DataLossError(absl::StrCat(name, " is in two shares"));
      }
    }
  }
  return state;
}

std::string Difference(const State& a, const State& b) {
  if (a.empty()) return "no tensors";
  for (const auto& [name, bytes] : a) {
    auto it = b.find(name);
    if (it == b.end()) return absl::StrCat(name, " is missing");
    if (it->second != bytes) {
      size_t i = 0;
      while (i < bytes.size() && i < it->second.size() && bytes[i] == it->second[i]) ++i;
      return absl::StrCat(name, " differs at byte ", i, " of ", bytes.size());
    }
  }
  return a.size() == b.size() ? "" : absl::StrCat(b.size() - a.size(), " more tensors");
}

}  // namespace tritter::e2e
