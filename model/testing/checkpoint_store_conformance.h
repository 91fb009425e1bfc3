// What every CheckpointStore must do, whatever it stands on; docs/formats/checkpoint.md.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "model/checkpoint_store.h"

namespace tritter {

// What a store stands on, made anew for each test.
class CheckpointMedium {
 public:
  using StoreAct = std::function<absl::Status(CheckpointStore*)>;

  virtual ~CheckpointMedium() = default;
  // The store as a process that has just started sees it.
  virtual std::unique_ptr<CheckpointStore> Open() = 0;
  // Another content of a committed file, behind the store's back; without content: no file.
  virtual void Overwrite(const CheckpointReader& checkpoint, const std::string& name,
                         const std::string* content) = 0;
  // The changes of `act` fail from the n-th on, their answers lost after the n-th has been done
  // (`half`) or not; afterwards they work again. False: `act` makes fewer changes.
  virtual bool ActWithFault(int64_t n, bool half, const StoreAct& act) = 0;
  // Once for every change that `act` makes, in every way of failing: the world stops there and
  // loses what it may lose; `check` looks at what a new process finds. Every time on a fresh
  // medium, filled by `prepare`. Returns the number of cases, the undisturbed one included.
  virtual int ForEachCrashPoint(
      const StoreAct& prepare, const StoreAct& act,
      const std::function<void(CheckpointStore*, const std::string& where)>& check) = 0;
};

using MakeCheckpointMedium = std::unique_ptr<CheckpointMedium> (*)();

class CheckpointStoreConformance : public testing::TestWithParam<MakeCheckpointMedium> {
 protected:
  CheckpointStoreConformance() : medium_(GetParam()()), store_(medium_->Open()) {}

  const std::unique_ptr<CheckpointMedium> medium_;
  const std::unique_ptr<CheckpointStore> store_;
};

// Two ranks' files of the attempt, written at the same time; the manifest that commits them.
absl::StatusOr<CheckpointManifest> PutShares(CheckpointStore* store,
                                             const CheckpointAttempt& attempt);
absl::Status WriteAndCommit(CheckpointStore* store, const CheckpointAttempt& attempt);

}  // namespace tritter
