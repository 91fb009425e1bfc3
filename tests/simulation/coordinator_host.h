// The machine that the coordinator runs on: its process, its store and its disk, and what may
// happen to them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "coordinator/coordinator.h"
#include "coordinator/data_catalog.h"
#include "coordinator/pulse.h"
#include "coordinator/store/fault_store.h"
#include "tests/simulation/world.h"

namespace tritter::simulation {

// Where the records lie over the lives of the coordinator.
class StoreHome {
 public:
  virtual ~StoreHome() = default;
  // At a point of a write at which the store lets itself be broken; `committed`: it is durable.
  using AtPoint = std::function<absl::Status(bool committed)>;
  // Called when a coordinator starts, and never before the one before it is gone. `fails` is asked
  // at each such point, if the store has some.
  virtual absl::StatusOr<Store*> Open(AtPoint fails) = 0;
  virtual void Close() = 0;
};
std::unique_ptr<StoreHome> MemoryHome();
// SQLite in a new folder below `folder`, which goes with it.
std::unique_ptr<StoreHome> SqliteHome(const std::string& folder);

// Between the coordinator and its store: sees every batch that became durable, and fails as told.
class WatchedStore : public FaultStore {
 public:
  using Observer = std::function<void(const WriteBatch& batch)>;
  // Changes batches on their way, to see whether somebody notices. May be unset.
  using Tamper = std::function<void(WriteBatch* batch)>;
  WatchedStore(Store* base, Observer observer, Tamper tamper)
      : FaultStore(base), base_(base), observer_(std::move(observer)), tamper_(std::move(tamper)) {}

  enum class Fault {
    kNone,
    kRefuse,      // the disk is full until it is healed
    kLoseAnswer,  // one write is applied, its answer is lost
    kDieBefore,   // the process ends before one write, and
    kDieAfter,    // after it: nothing is written any more
  };
  void Fail(Fault fault, int64_t writes_before);
  bool dead() const { return dead_; }
  bool refuses() const { return fault_ == Fault::kRefuse && before_ <= 0; }
  absl::Status Apply(const WriteBatch& batch) override;
  // Of the store below, inside a write.
  absl::Status AtPoint(bool committed);
  void DieAtPoint(int64_t points_before) { points_before_ = points_before; }

 protected:
  absl::Status AtRead() override;

 private:
  Store* const base_;
  const Observer observer_;
  const Tamper tamper_;
  Fault fault_ = Fault::kNone;
  int64_t before_ = 0;
  std::optional<int64_t> points_before_;
  bool dead_ = false, died_committed_ = false;
};

class CoordinatorHost {
 public:
  CoordinatorHost(World* world, CoordinatorOptions options, std::unique_ptr<StoreHome> home,
                  WatchedStore::Observer observer, WatchedStore::Tamper tamper);
  ~CoordinatorHost();

  // --- life ---
  void Start();
  void Kill();  // the process; with `power` the machine too
  void CutPower(CrashMode mode);
  void Freeze(absl::Duration until);  // as by SIGSTOP
  // Its round of decisions waits for a slow disk; calls and heartbeats are taken meanwhile.
  void Stall(absl::Duration until);
  void DieInWrite(bool after, int64_t writes_before);
  void DieInStatement(int64_t points_before);
  void DieInFileChange(int64_t changes_before, bool half);
  void LoseAnswer(int64_t writes_before);
  void FillStore() { store_->Fail(WatchedStore::Fault::kRefuse, 0); }
  void FillDisk();
  void HealStore();
  void HealDisk();
  void Heal();  // of everything but death

  bool up() const { return coordinator_ != nullptr && !dying_; }
  uint64_t life() const { return life_; }  // counts the processes
  absl::Duration frozen_until() const { return frozen_until_; }
  // Since when it has been in good health without a break.
  absl::Duration well_since() const { return well_since_; }
  bool well() const;
  // The process has ended: whoever is connected hears of it.
  std::function<void()> on_death;
  std::function<void()> on_tick;  // after each

  // Calls it. False: it died meanwhile, and nobody ever gets the answer. It is up.
  bool Do(const std::function<void(Coordinator*)>& call);
  Env* env() { return &env_; }  // as the coordinator sees it
  Env* worker_env() { return &worker_env_; }
  MemoryEnv* disk() { return &disk_; }
  Store* store() { return store_.get(); }
  int64_t exports() const { return exports_; }

 private:
  class Catalog : public DataCatalog {
   public:
    std::vector<SourceFacts> Inspect(const RunSpec& spec) override;
  };
  void TickLoop(uint64_t life);
  void PulseLoop(uint64_t life);
  void Unwell() { well_since_ = world_->now(); }

  World* const world_;
  const CoordinatorOptions options_;
  const std::unique_ptr<StoreHome> home_;
  const WatchedStore::Observer observer_;
  const WatchedStore::Tamper tamper_;
  MemoryEnv disk_;
  FaultEnv env_{&disk_}, worker_env_{&disk_};
  Catalog catalog_;
  std::unique_ptr<WatchedStore> store_;
  std::unique_ptr<Coordinator> coordinator_;
  uint64_t life_ = 0;
  int depth_ = 0;
  bool dying_ = false, dies_in_file_change_ = false, disk_full_ = false;
  absl::Duration frozen_until_, stalled_until_, well_since_;
  std::unique_ptr<PulseRecord> pulse_;
  int64_t exports_ = 0, next_run_ = 1;
};

}  // namespace tritter::simulation
