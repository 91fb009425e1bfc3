// A coordinator on memory, a fake clock and scripted workers, for tests without threads.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/errno_status.h"
#include "common/mutex.h"
#include "common/testing/fake_clock.h"
#include "common/testing/memory_env.h"
#include "coordinator/coordinator.h"
#include "coordinator/store/fault_store.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/testing/fake_agent.h"

namespace tritter {

// Every source is there, with `samples` samples, and is drawn from once.
class FakeCatalog : public DataCatalog {
 public:
  std::vector<SourceFacts> Inspect(const RunSpec& spec) override;
  absl::Status status;
  uint64_t samples = 1000;
  std::function<std::string(const SourceSpec&)> tokenizer;  // its hash; unset: "hash"
};

// Files that may take long to read, folders that cannot be read.
class SlowEnv : public MemoryEnv {
 public:
  absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) override {
    if (on_access) on_access();
    if (on_list) on_list();
    return list_status.ok() ? MemoryEnv::ListDir(path) : list_status;
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (on_access) on_access();
    if (on_rename) on_rename(to);
    return MemoryEnv::Rename(from, to);
  }
  absl::StatusOr<std::unique_ptr<MappedFile>> MapFile(const std::string& path) override {
    if (on_access) on_access();
    if (on_map) on_map(path);
    return MemoryEnv::MapFile(path);
  }
  absl::Status RemoveTree(const std::string& path) override {
    if (on_access) on_access();
    if (on_remove) on_remove(path);
    if (refilled > 0) {
      --refilled;
      return ErrnoStatus("remove folder", path, ENOTEMPTY);
    }
    return MemoryEnv::RemoveTree(path);
  }
  std::function<void()> on_access;  // before each of these
  std::function<void()> on_list;
  absl::Status list_status;  // not OK: no folder can be listed
  std::function<void(const std::string& to)> on_rename;
  std::function<void(const std::string& path)> on_map;
  std::function<void(const std::string& path)> on_remove;
  int refilled = 0;  // so many removals find a new file in the folder at their end
};

// Commands collected for one worker. Thread-safe: a coordinator with threads of its own pushes from
// them.
class RecordingSink : public CommandSink {
 public:
  void Push(const v1::Command& command) override {
    MutexLock lock(&mu_);
    commands_.push_back(command);
  }
  void Close(const absl::Status&) override {}
  std::vector<v1::Command> Take() {
    MutexLock lock(&mu_);
    return std::exchange(commands_, {});
  }

 private:
  Mutex mu_;
  std::vector<v1::Command> commands_ GUARDED_BY(mu_);
};

// The coordinator may be replaced (restarted) behind it.
class DirectApi : public WorkerApi {
 public:
  explicit DirectApi(std::unique_ptr<Coordinator>* coordinator) : c_(coordinator) {}
  absl::Status Register(const v1::RegisterRequest& request) override {
    return (*c_)->Register(request).status();
  }
  absl::Status OpenSession(const v1::Heartbeat& first) override;
  absl::Status Beat(const v1::Heartbeat& heartbeat) override {
    return (*c_)->Beat(session_, heartbeat);
  }
  void BreakSession() override { (*c_)->CloseSession(session_); }
  std::vector<v1::Command> TakeCommands() override;
  absl::Status PublishRendezvous(const v1::PublishRendezvousRequest& r) override {
    return (*c_)->PublishRendezvous(r);
  }
  absl::StatusOr<v1::NextPlanResponse> NextPlan(const v1::NextPlanRequest& r) override {
    return (*c_)->NextPlan(r);
  }
  absl::Status Report(const v1::ReportRequest& r) override { return (*c_)->Report(r); }
  absl::StatusOr<v1::CommitShareResponse> CommitShare(const v1::CommitShareRequest& r) override {
    return (*c_)->CommitShare(r);
  }

 private:
  std::unique_ptr<Coordinator>* const c_;
  std::shared_ptr<RecordingSink> sink_;
  uint64_t session_ = 0;
};

// The YAML of a small run.
std::string RunYaml(const std::string& name, int64_t steps, int64_t workers,
                    const std::string& more = "");

class CoordinatorFixture : public testing::Test {
 protected:
  // Whoever reads or writes holds no lock: a test in which somebody does hangs here. (With threads
  // of its own the coordinator may do so while a test replaces it.)
  CoordinatorFixture() : store_(&memory_store_) {
    options_.background = false;
    const auto look = [this] {
      if (!options_.background && coordinator_ != nullptr) coordinator_->Stats();
    };
    store_.OnAccess(look);
    env_.on_access = look;
  }

  // Starts (or restarts) the coordinator on the same store and files.
  void Start();
  void Stop() { coordinator_.reset(); }
  // A connected worker; `prepare` sees it before it connects.
  FakeAgent* AddWorker(const std::string& name, uint64_t incarnation = 1,
                       const std::function<void(FakeAgent*)>& prepare = nullptr);
  // Submits and returns the run's id.
  std::string Submit(const std::string& yaml, const std::string& key = "");
  v1::Run Get(const std::string& id);
  // Rounds of: the clock moves, every agent that lives acts, the coordinator ticks.
  void Rounds(int n, absl::Duration each = absl::Milliseconds(100));
  // Rounds until the condition holds; fails the test after `limit`.
  template <typename Condition>
  void RoundsUntil(Condition condition, int limit = 2000) {
    for (int i = 0; i < limit; ++i) {
      if (condition()) return;
      Rounds(1);
    }
    FAIL() << "the condition did not come true";
  }
  void Kill(FakeAgent* agent);     // its stream breaks, it acts no more
  void Silence(FakeAgent* agent);  // it acts no more, its stream stays
  std::vector<std::string> EventKinds(const std::string& run_id);

  SlowEnv env_;
  Env* files_ = &env_;  // of the coordinator
  FakeClock clock_;
  Pulse* pulse_ = nullptr;  // of the coordinator; null: its ticks
  MemoryStore memory_store_;
  FaultStore store_;
  FakeCatalog catalog_;
  std::function<std::string()> run_id_;  // unset: random ones
  CoordinatorOptions options_;
  bool agents_yield_ = false;  // workers that are added stop when told to, and keep their state
  FakeExchange exchange_;
  absl::Status export_status_;
  int exports_ = 0;
  ExportOptions export_options_;  // of the last one
  std::function<void()> on_export_;
  LoadModelFunction load_model_;  // of the inference servers in options_
  std::unique_ptr<Coordinator> coordinator_;
  std::vector<std::unique_ptr<DirectApi>> apis_;
  std::vector<std::unique_ptr<FakeAgent>> agents_;
  std::vector<FakeAgent*> live_;
};

}  // namespace tritter
