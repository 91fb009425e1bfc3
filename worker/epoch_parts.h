// What an epoch is built of. The real form (training_parts.h) makes c10d groups, LibTorch trainers
// and opens shards; tests hand in fakes, so that the conduct of an epoch is tested without
// LibTorch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/run_spec.h"
#include "worker/collective.h"
#include "worker/data_record.h"
#include "worker/plan.h"
#include "worker/training/trainer.h"

namespace tritter {

// The data of a run as one rank sees it. Read is called by one thread at a time, which need not be
// the training thread that calls the rest meanwhile.
class EpochData {
 public:
  virtual ~EpochData() = default;

  struct Share {
    Batch batch;            // this rank's sequences
    double weight_sum = 0;  // Σw over the predicted tokens of the whole global batch
  };
  // Sequences of slots [first_slot + first_position, + count) out of the global batch [first_slot,
  // + global_batch).
  virtual absl::StatusOr<Share> Read(int64_t first_slot, int64_t global_batch,
                                     int64_t first_position, int64_t count) = 0;

  struct HeldOut {
    std::string source;
    int64_t raw_bytes = 0;  // of the source's held-out documents
  };
  // What the run is trained on.
  virtual const DataHashes& hashes() const = 0;
  // SHA-256 of the definition of the tokenizer that all sources have in common, hex.
  virtual const std::string& tokenizer_hash() const = 0;
  // Sources that have held-out documents, in the order of the run.
  virtual const std::vector<HeldOut>& held_out() const = 0;
  // Windows of this rank, one after the other; false at the end. *failure must live as long as the
  // function; it is set when reading fails, and the windows end there.
  virtual std::function<bool(std::vector<int64_t>*)> Windows(size_t held_out_index,
                                                             const WindowShare& share,
                                                             absl::Status* failure) = 0;
};

// A rank's place in the group of an epoch.
struct GroupPlace {
  std::string prefix;  // of the keys in rank 0's store: run/epoch
  int rank = 0;
  int world_size = 1;
  absl::Duration timeout;      // to join, and of each operation
  bool mixed_devices = false;  // whatever this rank is, it speaks Gloo
};

// Lives as long as the process. Thread-safe.
class EpochParts {
 public:
  virtual ~EpochParts() = default;
  virtual absl::StatusOr<std::unique_ptr<EpochData>> OpenData(const RunSpec& spec) = 0;
  virtual absl::StatusOr<std::unique_ptr<Rendezvous>> OpenRendezvous(int world_size) = 0;
  // As tritter::ConnectCollective.
  virtual absl::StatusOr<std::unique_ptr<Collective>> Connect(const std::string& address,
                                                              Rendezvous* own,
                                                              const GroupPlace& place) = 0;
  // mixed_devices: Trainer::Options.
  virtual absl::StatusOr<std::unique_ptr<Trainer>> CreateTrainer(const RunSpec& spec,
                                                                 Collective* collective,
                                                                 bool mixed_devices) = 0;
};

}  // namespace tritter
