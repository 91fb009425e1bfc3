// The checkpoint of a trainer that is alone, without a coordinator.
#pragma once

#include <memory>
#include <string>

#include "common/testing/status_matchers.h"
#include "model/checkpoint_store.h"
#include "worker/training/trainer.h"

namespace tritter {

// `spec_yaml`: for those who ask the checkpoint what it is of, as an export does.
inline std::unique_ptr<CheckpointReader> CommitState(Trainer* trainer, CheckpointStore* store,
                                                     const std::string& spec_yaml = "") {
  CheckpointManifest manifest;
  manifest.run_id = "run-test";
  manifest.spec_yaml = spec_yaml;
  manifest.step = trainer->step();
  manifest.attempt = "alone";
  const CheckpointAttempt attempt{manifest.step, manifest.attempt};
  EXPECT_OK(store->Create());
  EXPECT_OK(store->Begin(attempt));
  const auto snapshot = trainer->Snapshot();
  EXPECT_OK(snapshot.status());
  const auto files = (*snapshot)->WriteShare(store, attempt);
  EXPECT_OK(files.status());
  manifest.files = *files;
  auto checkpoint = store->Commit(manifest);
  EXPECT_OK(checkpoint.status());
  return *std::move(checkpoint);
}

}  // namespace tritter
