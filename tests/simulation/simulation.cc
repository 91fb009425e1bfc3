#include "tests/simulation/simulation.h"

#include <algorithm>
#include <regex>

#include "absl/strings/str_cat.h"
#include "coordinator/decide/run_life.h"
#include "tests/simulation/group.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/network.h"
#include "tests/simulation/oracle.h"
#include "tests/simulation/user.h"
#include "tests/simulation/world.h"

namespace tritter::simulation {
namespace {

// After the chaos everything is mended, and what can end has to end within this.
constexpr absl::Duration kLongestEnd = absl::Minutes(20);

WatchedStore::Tamper TamperOf(Sabotage sabotage) {
  switch (sabotage) {
    case Sabotage::kStoreForgetsSupersede:
      return [](WriteBatch* b) { b->superseded.clear(); };
    case Sabotage::kStoreForgetsRequests:
      return [](WriteBatch* b) { b->requests.clear(); };
    case Sabotage::kStoreForgetsPlans:
      return [](WriteBatch* b) { b->plans.clear(); };
    case Sabotage::kStoreKeepsEpochsAlive:
      return [](WriteBatch* b) {
        for (EpochRecord& e : b->epochs) e.live = true;
      };
    case Sabotage::kStoreForgetsKeys:
      return [](WriteBatch* b) { b->keys.clear(); };
    case Sabotage::kStoreDoublesMembers:
      return [](WriteBatch* b) {
        for (EpochRecord& e : b->epochs)
          if (!e.members.empty()) e.members.back() = e.members.front();
      };
    case Sabotage::kStoreChangesWorkers:  // found after a restart
      return [](WriteBatch* b) {
        for (RunRecord& r : b->runs)
          r.spec_yaml =
              std::regex_replace(r.spec_yaml, std::regex("\n  min: [0-9]+\n  max: [0-9]+\n"),
                                 "\n  min: 1\n  max: 4\n");
      };
    case Sabotage::kStoreChangesRetention:
      return [](WriteBatch* b) {
        for (RunRecord& r : b->runs)
          r.spec_yaml =
              std::regex_replace(r.spec_yaml, std::regex("\n  keep: [0-9]+\n"), "\n  keep: 1\n");
      };
    default:
      return nullptr;
  }
}

Misdeed MisdeedOf(Sabotage sabotage) {
  switch (sabotage) {
    case Sabotage::kWorkerSkipsSamples:
      return Misdeed::kSkipsSamples;
    case Sabotage::kWorkerUsesOtherRate:
      return Misdeed::kOtherRate;
    case Sabotage::kWorkerTrainsAgain:
      return Misdeed::kTrainsAgain;
    default:
      return Misdeed::kNone;
  }
}

class Simulation {
 public:
  Simulation(uint64_t seed, const SimulationOptions& options);
  // Everybody ends while the world is whole: sessions are closed over the network, and what a
  // process waits for refers to it.
  ~Simulation() {
    host_.on_death = nullptr;
    host_.Kill();
    for (const std::shared_ptr<SimWorker>& worker : processes_) {
      worker->on_end = nullptr;
      worker->Die(/*restarts=*/false);
    }
  }
  SimulationResult Run();

 private:
  CoordinatorOptions OptionsOfCoordinator();
  NetworkFaults FaultsOfNetwork();
  RunWish DrawWish(int number);
  void ChooseDevice(RunWish* wish);
  void StartWorker(int host);
  void NextMishap();
  void NextStall();
  void Mishap();
  void Rage(int kind);
  void Damage();
  // A group gives up because one of its members waits for the coordinator: for a plan, for a
  // checkpoint to be committed, or, while it goes away again and again, for its assignment or for
  // where the group meets.
  bool LateForTheCoordinator(const std::string& run, uint64_t epoch, absl::Duration timeout,
                             const std::vector<std::shared_ptr<Process>>& absent) const;
  void OnTick();
  void CheckNoticed();
  void CheckSuperseded(const SimWorker& old);
  void Mend();
  // Everything has ended: the user deletes it, whatever comes in between.
  void DeleteRuns();
  bool Ended();
  std::string WhatIsLeft();
  std::shared_ptr<SimWorker> AnyWorker();

  World world_;
  const SimulationOptions options_;
  const Weather weather_;
  const int hosts_;
  // Draws of its own: what else a seed does is the same with and without GPUs.
  Philox device_random_;
  std::vector<bool> gpu_at_;  // by host; empty: nobody has one, and no run says what it wants
  const absl::Duration chaos_;
  CoordinatorHost host_;
  Invariants invariants_;
  Network network_;
  Groups groups_;
  std::shared_ptr<User> user_;
  double seconds_per_step_, hangs_;
  absl::Duration between_mishaps_;
  std::vector<std::shared_ptr<SimWorker>> processes_;  // all that ever were
  std::vector<std::shared_ptr<SimWorker>> at_host_;    // newest of each host
  Philox slow_disk_;  // draws of its own: seeds in which the disk is not slow keep their history
  bool mended_ = false;
  int64_t failures_ = 0;
  absl::Duration last_look_;
};

Weather WeatherOf(World* world, const SimulationOptions& options) {
  if (options.weather != Weather::kMixed) return options.weather;
  const int64_t draw = world->Below(10);
  return draw == 0 ? Weather::kCalm : draw == 1 ? Weather::kRestarts : Weather::kStorm;
}

Simulation::Simulation(uint64_t seed, const SimulationOptions& options)
    : world_(seed, options.trace),
      options_(options),
      weather_(WeatherOf(&world_, options)),
      hosts_(static_cast<int>(world_.Between(int64_t{1}, int64_t{5}))),
      device_random_(~seed),
      chaos_(absl::Seconds(world_.Between(int64_t{20}, int64_t{70}))),
      host_(
          &world_, OptionsOfCoordinator(),
          options.sqlite_folder.empty() ? MemoryHome() : SqliteHome(options.sqlite_folder),
          [this](const WriteBatch& batch) { invariants_.OnBatch(batch); },
          TamperOf(options.sabotage)),
      invariants_(&world_, host_.disk()),
      network_(&world_, &host_, FaultsOfNetwork(), hosts_ + 1),
      groups_(
          &world_, &network_,
          [this](const std::string& run, uint64_t epoch, const std::vector<RankStep>& ranks) {
            invariants_.OnStep(run, epoch, ranks);
          },
          [this](const std::string& run, uint64_t epoch, absl::Duration timeout,
                 const std::vector<std::shared_ptr<Process>>& absent) {
            if (LateForTheCoordinator(run, epoch, timeout, absent)) invariants_.OnUnanswered(run);
          }),
      seconds_per_step_(world_.Between(0.05, 0.6)),
      hangs_(world_.Chance(0.2) ? 0.1 : 0.0),
      between_mishaps_(absl::Seconds(world_.Between(0.7, 10.0))),
      at_host_(static_cast<size_t>(hosts_)),
      slow_disk_(MixKey(seed, 1)) {
  if (seed % 8 < 2) {
    for (int host = 0; host < hosts_; ++host) gpu_at_.push_back(device_random_.Below(2) == 0);
  }
  user_ = std::make_shared<User>(&world_, &network_, &invariants_, hosts_,
                                 /*insists=*/seed % 8 < 2);
  host_.on_death = [this] {
    network_.CoordinatorDied();
    const bool long_away = weather_ == Weather::kStorm && world_.Chance(0.15);
    world_.After(absl::Seconds(world_.Between(0.0, long_away ? 25.0 : 5.0)),
                 [this] { host_.Start(); });
  };
  host_.on_tick = [this] { OnTick(); };
}

CoordinatorOptions Simulation::OptionsOfCoordinator() {
  CoordinatorOptions options;
  options.data_dir = "/data-dir";
  options.background = false;
  options.plan.first_steps = world_.Between(int64_t{1}, int64_t{8});
  options.plan.target = absl::Seconds(world_.Between(1.0, 15.0));
  options.collective_timeout = absl::Seconds(world_.Chance(0.5) ? 60 : 20);
  return options;
}

NetworkFaults Simulation::FaultsOfNetwork() {
  NetworkFaults faults;
  faults.delay = absl::Milliseconds(world_.Between(0.5, 30.0));
  if (world_.Chance(0.2)) return faults;  // a good network
  const double worst = world_.Chance(0.2) ? 0.2 : 0.03;
  faults.request_lost = world_.Between(0.0, worst);
  faults.answer_lost = world_.Between(0.0, worst);
  faults.duplicated = world_.Between(0.0, worst);
  faults.late = world_.Between(0.0, worst);
  return faults;
}

RunWish Simulation::DrawWish(int number) {
  static constexpr const char* kShapes[] = {"cosine", "linear", "sqrt"};
  RunWish wish;
  wish.name = absl::StrCat("run-", number);
  wish.project = number % 3 == 0 ? "rare" : "usual";
  wish.steps = world_.Between(int64_t{6}, int64_t{60});
  wish.global_batch = world_.Between(int64_t{4}, int64_t{12});
  wish.warmup = world_.Between(int64_t{1}, wish.steps / 3);
  wish.decay = world_.Between(int64_t{1}, wish.steps / 3);
  wish.shape = kShapes[world_.Below(3)];
  wish.decay_text = static_cast<double>(world_.Between(int64_t{1}, int64_t{3}));
  wish.decay_code = static_cast<double>(world_.Below(3));
  wish.checkpoint_every = world_.Between(int64_t{2}, int64_t{20});
  wish.keep = world_.Between(int64_t{1}, int64_t{3});
  wish.evaluate_every = world_.Between(int64_t{3}, int64_t{25});
  wish.max_workers = std::min<int64_t>(world_.Between(int64_t{1}, hosts_), wish.global_batch);
  wish.min_workers =
      world_.Chance(0.6) ? wish.max_workers : world_.Between(int64_t{1}, wish.max_workers);
  wish.priority = world_.Below(3);
  wish.exports = world_.Chance(0.3);
  ChooseDevice(&wish);
  return wish;
}

// One of which there are enough for the run.
void Simulation::ChooseDevice(RunWish* wish) {
  if (gpu_at_.empty()) return;
  wish->device = "any";
  if (device_random_.Below(3) > 0) return;
  const int64_t gpus = std::count(gpu_at_.begin(), gpu_at_.end(), true);
  const int64_t cpus = hosts_ - gpus;
  const char* device = device_random_.Below(2) == 0 ? "auto" : gpus > 0 ? "cuda" : "cpu";
  const int64_t there = device == std::string("auto")   ? std::max(cpus, gpus)
                        : device == std::string("cuda") ? gpus
                                                        : cpus;
  wish->device = device;
  wish->min_workers = std::min(wish->min_workers, there);
}

void Simulation::StartWorker(int host) {
  WorkerParts parts{.world = &world_,
                    .network = &network_,
                    .coordinator = &host_,
                    .groups = &groups_,
                    .misdeed = MisdeedOf(options_.sabotage),
                    .device = "cpu sim x1",
                    .seconds_per_sequence = 0,
                    .on_plan =
                        [this](const v1::NextPlanRequest& request,
                               const absl::StatusOr<v1::NextPlanResponse>& response) {
                          invariants_.OnPlan(request, response);
                        },
                    .on_held = [this](const Held& held) { invariants_.OnHeld(held); },
                    .on_superseded = [this](const SimWorker& old) { CheckSuperseded(old); }};
  if (!gpu_at_.empty()) {
    const bool gpu = gpu_at_[static_cast<size_t>(host)];
    if (gpu) parts.device = "cuda:0 sim";
    parts.seconds_per_sequence = (gpu ? 0.01 : 0.05) * (1 + device_random_.Uniform());
  }
  auto worker = std::make_shared<SimWorker>(parts, host, absl::StrCat("w-", host), world_.Bits(),
                                            seconds_per_step_ * world_.Between(0.9, 1.1), hangs_);
  worker->on_end = [this, host](bool restarts) {
    if (!restarts) {  // another may have its name
      for (const std::shared_ptr<SimWorker>& p : processes_) {
        if (p->alive() && p->host() == host) at_host_[static_cast<size_t>(host)] = p;
      }
      return;
    }
    world_.After(absl::Seconds(world_.Between(0.5, 5.0)), [this, host] {
      if (!at_host_[static_cast<size_t>(host)]->alive()) StartWorker(host);
    });
  };
  processes_.push_back(worker);
  at_host_[static_cast<size_t>(host)] = worker;
  worker->Start();
}

std::shared_ptr<SimWorker> Simulation::AnyWorker() {
  return at_host_[static_cast<size_t>(world_.Below(hosts_))];
}

// --- what goes wrong ----------------------------------------------------------------------------

void Simulation::NextMishap() {
  world_.After(between_mishaps_ * world_.Between(0.1, 2.0), [this] {
    if (mended_) return;
    Mishap();
    NextMishap();
  });
}

void Simulation::NextStall() {
  world_.After(absl::Seconds(1 + 15 * slow_disk_.Uniform()), [this] {
    if (mended_) return;
    if (host_.up()) host_.Stall(world_.now() + absl::Seconds(0.2 + 12 * slow_disk_.Uniform()));
    NextStall();
  });
}

void Simulation::Mishap() {
  switch (weather_) {
    case Weather::kMixed:
    case Weather::kCalm:
      return;
    case Weather::kRestarts:
      if (!host_.up()) return;
      ++failures_;
      return host_.Kill();
    case Weather::kStorm:
      ++failures_;
      return Rage(static_cast<int>(world_.Below(24)));
  }
}

void Simulation::Rage(int kind) {
  const absl::Duration now = world_.now();
  const std::shared_ptr<SimWorker> worker = AnyWorker();
  const auto a_while = [&](double longest) { return absl::Seconds(world_.Between(0.2, longest)); };
  switch (kind) {
    case 0:
    case 1:
    case 2:
    case 3:
      return worker->Die(/*restarts=*/world_.Chance(0.8));
    case 4:
    case 5: {
      const absl::Duration until = now + a_while(15);
      world_.Note(worker->name(), " is stopped until ", absl::FormatDuration(until));
      return worker->Freeze(until);
    }
    case 6:
      return worker->Drain();
    case 7:
      return worker->ResetConnection();
    case 8:
      if (worker->alive()) worker->FailEpoch(/*permanent=*/world_.Chance(0.1));
      return;
    case 9: {  // another process of the same name, while the first may live
      return StartWorker(worker->host());
    }
    case 10:
    case 11: {
      const absl::Duration until = now + a_while(20);
      if (!world_.Chance(0.2)) network_.Cut(worker->host(), Network::Way::kUp, until);
      if (!world_.Chance(0.2)) network_.Cut(worker->host(), Network::Way::kDown, until);
      return;
    }
    case 12:
      if (hosts_ > 1) {
        const int a = static_cast<int>(world_.Below(hosts_));
        network_.CutPeers(a,
                          static_cast<int>((a + world_.Between(int64_t{1}, hosts_ - 1)) % hosts_),
                          now + a_while(30));
      }
      return;
    case 13:
    case 14:
      if (!host_.up()) return;
      if (world_.Chance(0.7)) return host_.Kill();
      return host_.CutPower(world_.Chance(0.5) ? CrashMode::kLoseUnsynced
                                               : CrashMode::kKeepNamesOnly);
    case 15:
      if (host_.up()) host_.Freeze(now + a_while(10));
      return;
    case 16:
      if (host_.up()) host_.DieInWrite(world_.Chance(0.5), world_.Below(20));
      return;
    case 17:
      if (host_.up()) host_.DieInFileChange(world_.Below(30), world_.Chance(0.5));
      return;
    case 18:
      if (host_.up()) host_.LoseAnswer(world_.Below(10));
      return;
    case 19: {
      if (!host_.up()) return;
      world_.Note("the store is full");
      host_.FillStore();
      world_.After(a_while(12), [this] {
        world_.Note("the store has room");
        host_.HealStore();
      });
      return;
    }
    case 20: {
      world_.Note("the disk is full");
      host_.FillDisk();
      world_.After(a_while(12), [this] {
        world_.Note("the disk has room");
        host_.HealDisk();
      });
      return;
    }
    case 21:
      world_.clock.JumpWallClock(absl::Seconds(world_.Between(-4000.0, 4000.0)));
      return;
    case 22:
      if (!options_.sqlite_folder.empty() && host_.up())
        return host_.DieInStatement(world_.Below(100));
      return Damage();
    default: {
      if (invariants_.runs().empty()) return;
      auto it = invariants_.runs().begin();
      std::advance(it, world_.Below(static_cast<int64_t>(invariants_.runs().size())));
      const int64_t draw = world_.Below(12);
      return user_->Ask(it->first, draw < 6    ? User::Wish::kPause
                                   : draw < 10 ? User::Wish::kResume
                                   : draw < 11 ? User::Wish::kCancel
                                               : User::Wish::kCancelNow);
    }
  }
}

// Of a run that has another checkpoint to go back to.
void Simulation::Damage() {
  for (const auto& [id, run] : invariants_.runs()) {
    if (run.checkpoints.size() < 2 || IsFinal(run.record.state) || !run.damaged.empty() ||
        run.record.state == v1::RUN_STATE_EXPORTING || run.live.has_value())
      continue;
    const v1::Checkpoint& newest = run.checkpoints.rbegin()->second;
    const absl::StatusOr<std::vector<std::string>> names = host_.disk()->ListDir(newest.path());
    if (!names.ok()) continue;
    for (const std::string& name : *names) {
      if (name.rfind("share-", 0) != 0) continue;
      world_.Note("the checkpoint of step ", newest.step(), " of ", id, " is damaged");
      WriteFileAtomically(host_.disk(), JoinPath(newest.path(), name), "garbage").IgnoreError();
      return invariants_.OnDamage(id, newest.step());
    }
  }
}

bool Simulation::LateForTheCoordinator(const std::string& run, uint64_t epoch,
                                       absl::Duration timeout,
                                       const std::vector<std::shared_ptr<Process>>& absent) const {
  for (const std::shared_ptr<Process>& process : absent) {
    const auto* worker = dynamic_cast<const SimWorker*>(process.get());
    if (worker->unanswered_for() > 0.5 * timeout) return true;
  }
  if (host_.well() && world_.now() - host_.well_since() > timeout) return false;
  const auto it = invariants_.runs().find(run);
  if (it == invariants_.runs().end() || !it->second.live.has_value() ||
      it->second.live->record.epoch != epoch)
    return false;
  for (const MemberRecord& member : it->second.live->record.members) {
    for (const std::shared_ptr<SimWorker>& p : processes_) {
      if (p->alive() && p->incarnation() == member.incarnation && p->AwaitsGroup(run, epoch))
        return true;
    }
  }
  return false;
}

// --- what must hold all the time ----------------------------------------------------------------

void Simulation::OnTick() {
  if (world_.now() - last_look_ < absl::Milliseconds(500)) return;
  last_look_ = world_.now();
  CheckNoticed();
  host_.Do([this](Coordinator* c) {
    const v1::ListRunsResponse list = c->List(0);
    invariants_.OnRunsShown({list.runs().begin(), list.runs().end()}, host_.well());
  });
}

// A process that is gone does not stay a member of a live epoch.
void Simulation::CheckNoticed() {
  constexpr absl::Duration kNoticed = absl::Seconds(8), kWell = absl::Seconds(13);
  // While the coordinator awaits its members after a restart, whatever comes of one is a sign of
  // life; what the network brings late, too.
  constexpr absl::Duration kAwaited = absl::Seconds(40), kNoticedLate = absl::Seconds(24);
  const absl::Duration now = world_.now();
  if (!host_.well() || now - host_.well_since() < kWell) return;
  const absl::Duration noticed = now - host_.well_since() < kAwaited ? kNoticedLate : kNoticed;
  for (const auto& [id, run] : invariants_.runs()) {
    if (!run.live.has_value() || run.live->done) continue;
    for (const MemberRecord& m : run.live->record.members) {
      for (const std::shared_ptr<SimWorker>& p : processes_) {
        if (p->alive() || p->incarnation() != m.incarnation || now - p->ended_at() < noticed)
          continue;
        world_.Break(absl::StrCat("a process that is gone is noticed, but ", p->name(), " ended ",
                                  absl::FormatDuration(now - p->ended_at()),
                                  " ago and belongs to the live epoch ", run.live->record.epoch,
                                  " of ", id));
      }
    }
  }
}

// Nobody loses his name to the late words of a process that was gone before.
void Simulation::CheckSuperseded(const SimWorker& old) {
  constexpr absl::Duration kOnItsWay = absl::Seconds(5);
  bool later = false;  // in the order in which they started
  for (const std::shared_ptr<SimWorker>& p : processes_) {
    if (p->host() != old.host()) continue;
    if (p.get() == &old) {
      later = true;
    } else if (later || p->alive() || world_.now() - p->ended_at() < kOnItsWay) {
      return;
    }
  }
  world_.Break(absl::StrCat("a process ends only when a living one has its name, but ", old.name(),
                            " with incarnation ", old.incarnation() % 10000, " ended"));
}

// --- the end ------------------------------------------------------------------------------------

void Simulation::Mend() {
  mended_ = true;
  world_.Note("everything is mended");
  network_.HealAll();
  network_.Calm();
  host_.Start();
  host_.Heal();
  for (const std::shared_ptr<SimWorker>& p : processes_) p->Thaw();
}

bool Simulation::Ended() {
  if (user_->waits()) return false;
  bool ended = !invariants_.runs().empty();
  for (const auto& [id, run] : invariants_.runs()) {
    const v1::RunState state = run.record.state;
    if (state == v1::RUN_STATE_PAUSED || state == v1::RUN_STATE_FAILED)
      user_->Ask(id, User::Wish::kResume);
    ended = ended && (state == v1::RUN_STATE_COMPLETED || state == v1::RUN_STATE_CANCELLED);
  }
  if (!host_.up()) host_.Start();
  for (int host = 0; host < hosts_; ++host) {
    if (!at_host_[static_cast<size_t>(host)]->alive()) StartWorker(host);
  }
  return ended;
}

void Simulation::DeleteRuns() {
  constexpr int kTries = 10;
  for (const auto& [id, run] : invariants_.runs()) {
    switch (world_.Between(int64_t{0}, int64_t{4})) {
      case 0:
        host_.DieInWrite(/*after=*/false, 0);
        break;
      case 1:
        host_.DieInWrite(/*after=*/true, 0);
        break;
      case 2:
        host_.DieInFileChange(0, /*half=*/world_.Between(int64_t{0}, int64_t{1}) == 0);
        break;
      case 3:
        host_.LoseAnswer(0);
        break;
      default:
        break;
    }
    absl::Status answer = absl::UnavailableError("not asked");
    for (int tries = 0; tries < kTries && !answer.ok() && !absl::IsNotFound(answer); ++tries) {
      if (!host_.up()) host_.Start();
      const bool lives =
          host_.Do([&](Coordinator* c) { answer = c->Delete(id, "delete " + id).status(); });
      if (!lives) answer = absl::UnavailableError("it died");
      world_.Note("the user deletes ", id, ": ", answer.ToString());
      host_.Heal();
      if (answer.ok()) break;
      const absl::Duration until = world_.now() + absl::Seconds(1);
      while (world_.Step(until)) {
      }
      if (world_.broken().has_value()) return;
    }
    if (!answer.ok())
      return world_.Break(
          absl::StrCat("what has ended can be deleted, but ", id, ": ", answer.ToString()));
  }
  host_.Kill();
  host_.Start();
  for (const auto& [id, run] : invariants_.runs()) {
    absl::Status found;
    host_.Do([&](Coordinator* c) { found = c->Get(id).status(); });
    const bool rows = !host_.store()->Events(id, 0, 1)->empty() ||
                      !host_.store()->Metrics(id, 0, 0, 1)->empty() ||
                      !host_.store()->Epochs(id, 1)->empty();
    if (!absl::IsNotFound(found) || rows || host_.disk()->Exists(run.record.run_dir))
      return world_.Break(absl::StrCat("of a deleted run nothing stays, but ", id, ": ",
                                       found.ToString(), rows ? ", rows" : "",
                                       host_.disk()->Exists(run.record.run_dir) ? ", files" : ""));
  }
}

std::string Simulation::WhatIsLeft() {
  std::string left;
  for (const auto& [id, run] : invariants_.runs()) {
    const v1::RunState state = run.record.state;
    if (state == v1::RUN_STATE_COMPLETED || state == v1::RUN_STATE_CANCELLED) continue;
    absl::StrAppend(&left, "; ", id, " (", run.record.name, ") is ", StateName(state), " at step ",
                    run.record.step, " of ", run.record.total_steps, ": ", run.record.reason);
  }
  return left;
}

SimulationResult Simulation::Run() {
  host_.Start();
  for (int host = 0; host < hosts_; ++host) {
    world_.At(absl::Seconds(world_.Between(0.0, 5.0)), [this, host] { StartWorker(host); });
    at_host_[static_cast<size_t>(host)] = nullptr;
  }
  const int runs = static_cast<int>(world_.Between(int64_t{1}, int64_t{3}));
  for (int n = 0; n < runs; ++n) {
    world_.At(absl::Seconds(world_.Between(0.0, 15.0)), [this, n] { user_->Submit(DrawWish(n)); });
  }
  world_.At(absl::Seconds(5), [this] { NextMishap(); });
  if (weather_ == Weather::kStorm && slow_disk_.Uniform() < 0.2) NextStall();
  while (world_.Step(chaos_)) {
  }
  if (!world_.broken().has_value()) Mend();
  bool ended = false;
  absl::Duration until = chaos_;
  while (!world_.broken().has_value() && !ended && until < chaos_ + kLongestEnd) {
    until += absl::Seconds(1);
    while (world_.Step(until)) {
    }
    ended = Ended();
  }
  // Nobody repeats what nobody asked for: the last words have a moment to arrive.
  until += absl::Seconds(20);
  while (ended && world_.Step(until)) {
  }
  if (!world_.broken().has_value() && !ended) {
    world_.Break(absl::StrCat("everything was mended ", absl::FormatDuration(kLongestEnd),
                              " ago and every run ends", WhatIsLeft()));
  }
  if (!world_.broken().has_value()) invariants_.CheckEnds(host_.store());
  // A group gives up of which somebody waits for the coordinator about as long as a collective
  // waits: then the promise is that nothing committed is lost.
  const int64_t lost = invariants_.epochs_lost();
  if (!world_.broken().has_value() && weather_ != Weather::kStorm &&
      lost > invariants_.epochs_unanswered())
    world_.Break(absl::StrCat("no epoch is lost when nobody dies, but ", lost, " were"));
  for (const auto& [id, run] : invariants_.runs()) {
    if (weather_ == Weather::kCalm && lost == 0 && run.steps_repeated > 0)
      world_.Break(absl::StrCat("no step is trained twice when nobody dies, but ",
                                run.steps_repeated, " of ", id, " were"));
  }
  if (!world_.broken().has_value()) DeleteRuns();
  SimulationResult out;
  out.broken = world_.broken().value_or("");
  out.trace = world_.trace();
  out.events = world_.events();
  out.steps = invariants_.steps_trained();
  out.samples_committed = invariants_.samples_committed();
  out.failures = failures_;
  out.epochs_lost = invariants_.epochs_lost();
  out.simulated_seconds = absl::ToDoubleSeconds(world_.now());
  for (const auto& [id, run] : invariants_.runs()) {
    out.runs_completed += run.record.state == v1::RUN_STATE_COMPLETED;
    out.epochs_mixed += run.epochs_mixed;
  }
  return out;
}

}  // namespace

SimulationResult Simulate(uint64_t seed, const SimulationOptions& options) {
  return Simulation(seed, options).Run();
}

}  // namespace tritter::simulation
