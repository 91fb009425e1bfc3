#include "tests/simulation/coordinator_host.h"

#include "common/status_macros.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/store/sqlite_store.h"

namespace tritter::simulation {
namespace {

class InMemory : public StoreHome {
 public:
  absl::StatusOr<Store*> Open(AtPoint) override { return &store_; }
  void Close() override {}

 private:
  MemoryStore store_;
};

class InSqlite : public StoreHome {
 public:
  explicit InSqlite(std::string folder) : folder_(std::move(folder)) {}
  ~InSqlite() override {
    Close();
    Env::Real()->RemoveTree(folder_).IgnoreError();
  }
  absl::StatusOr<Store*> Open(AtPoint fails) override {
    SqliteStoreOptions options;
    options.hook = [fails = std::move(fails)](absl::string_view point) {
      return fails(point == "committed");
    };
    ASSIGN_OR_RETURN(store_, SqliteStore::Open(Env::Real(), folder_, std::move(options)));
    return store_.get();
  }
  void Close() override { store_.reset(); }

 private:
  const std::string folder_;
  std::unique_ptr<SqliteStore> store_;
};

}  // namespace

std::unique_ptr<StoreHome> MemoryHome() { return std::make_unique<InMemory>(); }
std::unique_ptr<StoreHome> SqliteHome(const std::string& folder) {
  return std::make_unique<InSqlite>(JoinPath(folder, RandomId("store")));
}

void WatchedStore::Fail(Fault fault, int64_t writes_before) {
  fault_ = fault;
  before_ = writes_before;
}

absl::Status WatchedStore::AtPoint(bool committed) {
  if (dead_) return absl::UnavailableError("simulated: the process has ended");
  if (!points_before_.has_value() || (*points_before_)-- > 0) return absl::OkStatus();
  dead_ = true;
  died_committed_ = committed;
  return absl::UnavailableError("simulated: the process ended within a write");
}

absl::Status WatchedStore::AtRead() {
  if (dead_) return absl::UnavailableError("simulated: the process has ended");
  return absl::OkStatus();
}

absl::Status WatchedStore::Apply(const WriteBatch& written) {
  if (dead_) return absl::UnavailableError("simulated: the process has ended");
  const bool now = fault_ != Fault::kNone && before_-- <= 0;
  const Fault fault = now ? fault_ : Fault::kNone;
  if (now && fault != Fault::kRefuse) fault_ = Fault::kNone;
  dead_ = fault == Fault::kDieBefore;
  if (dead_) return absl::UnavailableError("simulated: the process ended before a write");
  if (fault == Fault::kRefuse)
    return absl::ResourceExhaustedError("simulated: no space left on device");
  absl::Status status;
  if (tamper_) {
    WriteBatch batch = written;
    tamper_(&batch);
    status = base_->Apply(batch);
  } else {
    status = base_->Apply(written);
  }
  if (status.ok() || std::exchange(died_committed_, false)) observer_(written);
  dead_ = dead_ || fault == Fault::kDieAfter;
  if (status.ok() && fault != Fault::kNone)
    return absl::UnavailableError("simulated: the answer of the store was lost");
  return status;
}

std::vector<SourceFacts> CoordinatorHost::Catalog::Inspect(const RunSpec& spec) {
  std::vector<SourceFacts> out;
  for (const SourceSpec& s : spec.sources)
    out.push_back({s.name, absl::OkStatus(), 1000, 1000, "hash", 264});
  return out;
}

CoordinatorHost::CoordinatorHost(World* world, CoordinatorOptions options,
                                 std::unique_ptr<StoreHome> home, WatchedStore::Observer observer,
                                 WatchedStore::Tamper tamper)
    : world_(world),
      options_(std::move(options)),
      home_(std::move(home)),
      observer_(std::move(observer)),
      tamper_(std::move(tamper)) {}

CoordinatorHost::~CoordinatorHost() {
  on_death = nullptr;
  coordinator_.reset();
}

void CoordinatorHost::Start() {
  if (coordinator_ != nullptr) return;
  ++life_;
  Unwell();
  absl::StatusOr<Store*> base = home_->Open([this](bool committed) {
    return store_ == nullptr ? absl::OkStatus() : store_->AtPoint(committed);
  });
  if (!base.ok()) {
    world_->Break(absl::StrCat("the store opens again: ", base.status().message()));
    return;
  }
  const bool full = store_ != nullptr && store_->refuses();
  store_ = std::make_unique<WatchedStore>(*base, observer_, tamper_);
  if (full) FillStore();
  CoordinatorDependencies d;
  d.store = store_.get();
  d.env = &env_;
  d.clock = &world_->clock;
  d.catalog = &catalog_;
  pulse_ = std::make_unique<PulseRecord>(options_.liveness.own_pause);
  d.pulse = pulse_.get();
  d.run_id = [this] { return absl::StrCat("r-", next_run_++); };
  d.exporter = [this](const CheckpointReader& checkpoint, const std::string& path,
                      const ExportOptions& options) -> absl::StatusOr<v1::Artifact> {
    ++exports_;
    RETURN_IF_ERROR(VerifyCheckpoint(checkpoint));
    RETURN_IF_ERROR(WriteFileAtomically(&env_, path, checkpoint.location()));
    v1::Artifact artifact;
    artifact.set_kind(options.format);
    artifact.set_path(path);
    return artifact;
  };
  absl::StatusOr<std::unique_ptr<Coordinator>> started = Coordinator::Start(d, options_);
  if (dies_in_file_change_ && env_.tripped()) {
    started = absl::UnavailableError("simulated: the process ended while it started");
    dies_in_file_change_ = false;
    env_.Heal();
  }
  if (!started.ok()) {
    world_->Note("coordinator does not start: ", started.status().message());
    home_->Close();
    const uint64_t life = life_;
    world_->After(absl::Seconds(1), [this, life] {  // its supervisor tries again
      if (life == life_) Start();
    });
    return;
  }
  coordinator_ = *std::move(started);
  frozen_until_ = stalled_until_ = world_->now();
  world_->Note("coordinator starts, life ", life_);
  TickLoop(life_);
  PulseLoop(life_);
}

void CoordinatorHost::PulseLoop(uint64_t life) {
  if (life != life_ || !up()) return;
  if (frozen_until_ <= world_->now()) pulse_->Beat(world_->now(), world_->now());
  world_->At(std::max(frozen_until_, world_->now() + absl::Milliseconds(200)),
             [this, life] { PulseLoop(life); });
}

void CoordinatorHost::TickLoop(uint64_t life) {
  world_->After(world_->Between(absl::Milliseconds(100), absl::Milliseconds(300)), [this, life] {
    if (life != life_ || !up()) return;
    if (const absl::Duration until = std::max(frozen_until_, stalled_until_);
        until > world_->now()) {
      world_->At(until, [this, life] { TickLoop(life); });
      return;
    }
    const bool lives = Do([](Coordinator* c) { c->Tick(); });
    if (lives && on_tick) on_tick();
    if (lives) TickLoop(life);
  });
}

bool CoordinatorHost::Do(const std::function<void(Coordinator*)>& call) {
  ++depth_;
  call(coordinator_.get());
  --depth_;
  if (store_->dead() || (dies_in_file_change_ && env_.tripped())) dying_ = true;
  if (!dying_) return true;
  if (depth_ == 0) Kill();
  return false;
}

void CoordinatorHost::Kill() {
  if (coordinator_ == nullptr) return;
  dying_ = true;
  if (depth_ > 0) return;
  world_->Note("coordinator dies");
  coordinator_.reset();
  home_->Close();
  if (dies_in_file_change_) {
    env_.Heal();
    dies_in_file_change_ = false;
    if (disk_full_) FillDisk();
  }
  dying_ = false;
  ++life_;
  Unwell();
  if (on_death) on_death();
}

void CoordinatorHost::CutPower(CrashMode mode) {
  Kill();
  disk_.Crash(mode);
}

void CoordinatorHost::Freeze(absl::Duration until) {
  world_->Note("coordinator is stopped until ", absl::FormatDuration(until));
  frozen_until_ = std::max(frozen_until_, until);
  well_since_ = frozen_until_;
}

void CoordinatorHost::Stall(absl::Duration until) {
  world_->Note("the coordinator's decisions wait for its disk until ", absl::FormatDuration(until));
  stalled_until_ = std::max(stalled_until_, until);
}

void CoordinatorHost::DieInWrite(bool after, int64_t writes_before) {
  store_->Fail(after ? WatchedStore::Fault::kDieAfter : WatchedStore::Fault::kDieBefore,
               writes_before);
}

void CoordinatorHost::DieInStatement(int64_t points_before) { store_->DieAtPoint(points_before); }

void CoordinatorHost::DieInFileChange(int64_t changes_before, bool half) {
  if (disk_full_) return;
  dies_in_file_change_ = true;
  env_.Heal();
  env_.FailAt(changes_before + 1, absl::UnavailableError("simulated: the process has ended"), half);
}

void CoordinatorHost::LoseAnswer(int64_t writes_before) {
  store_->Fail(WatchedStore::Fault::kLoseAnswer, writes_before);
}

void CoordinatorHost::FillDisk() {
  const absl::Status full = absl::ResourceExhaustedError("simulated: no space left on device");
  disk_full_ = true;
  dies_in_file_change_ = false;
  for (FaultEnv* env : {&env_, &worker_env_}) {
    env->Heal();
    env->FailAt(1, full);
  }
}

void CoordinatorHost::HealDisk() {
  disk_full_ = false;
  dies_in_file_change_ = false;
  env_.Heal();
  worker_env_.Heal();
  Unwell();
}

void CoordinatorHost::HealStore() {
  store_->Fail(WatchedStore::Fault::kNone, 0);
  Unwell();
}

void CoordinatorHost::Heal() {
  HealDisk();
  HealStore();
  frozen_until_ = std::min(frozen_until_, world_->now());
  stalled_until_ = std::min(stalled_until_, world_->now());
}

bool CoordinatorHost::well() const {
  return up() && frozen_until_ <= world_->now() && !disk_full_ && !store_->refuses();
}

}  // namespace tritter::simulation
