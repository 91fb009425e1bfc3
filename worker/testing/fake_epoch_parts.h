// Fakes of trainer, data and groups: the state of training is a running checksum of everything that
// went into it, so that a step that was skipped, repeated or fed with other data or another
// learning rate shows.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "common/mutex.h"
#include "worker/epoch_parts.h"

namespace tritter {

// The checksum after a step.
uint64_t FakeStateAfterStep(uint64_t state, const Batch& batch, double learning_rate,
                            int64_t micro_batch);

class FakeEpochParts : public EpochParts {
 public:
  // Called in the training thread before each step; a status that is not OK is the step's.
  std::function<absl::Status(int64_t step)> on_step;
  // Called while the step changes the state; a status that is not OK leaves it there.
  std::function<absl::Status(int64_t step)> on_update;
  // Called in the writing thread before a share of a checkpoint is written.
  std::function<void()> on_write;
  // Called in the reading thread before each read; a status that is not OK is the read's.
  std::function<absl::Status(int64_t first_slot)> on_read;
  // Called in the training thread of `rank` (of equal ones) for each window of an evaluation; a
  // status that is not OK ends them and is that of reading.
  std::function<absl::Status(int rank)> on_window;
  std::atomic<int64_t> windows_read{0};
  double seconds_per_sequence = 0;  // that a step claims to have computed
  absl::Status open_data_status;
  DataHashes data_hashes = {{"text", "aa"}};
  // Groups of several come from here.
  std::function<absl::StatusOr<std::unique_ptr<Collective>>(const std::string& address, int rank,
                                                            int world_size)>
      connect;

  // Of the newest trainer, after its last step.
  uint64_t state() const;
  int64_t steps_executed() const;
  Collective* collective() const;
  int trainers_made() const;
  int trainers_alive() const;

  absl::StatusOr<std::unique_ptr<EpochData>> OpenData(const RunSpec& spec) override;
  absl::StatusOr<std::unique_ptr<Rendezvous>> OpenRendezvous(int world_size) override;
  absl::StatusOr<std::unique_ptr<Collective>> Connect(const std::string& address, Rendezvous* own,
                                                      const GroupPlace& place) override;
  absl::StatusOr<std::unique_ptr<Trainer>> CreateTrainer(const RunSpec& spec,
                                                         Collective* collective,
                                                         bool mixed_devices = false) override;

 private:
  friend class FakeTrainer;
  void Note(uint64_t state, int64_t executed);
  void NoteTrainer(int alive);

  mutable Mutex mu_;
  uint64_t state_ GUARDED_BY(mu_) = 0;
  int64_t executed_ GUARDED_BY(mu_) = 0;
  int made_ GUARDED_BY(mu_) = 0, alive_ GUARDED_BY(mu_) = 0;
  Collective* collective_ GUARDED_BY(mu_) = nullptr;
};

// The state a fake checkpoint share holds, as file contents.
std::string FakeShare(uint64_t state, int64_t step);
std::string FakeShareName(int rank, int world_size);

}  // namespace tritter
