#include "worker/testing/device_group.h"

#include "absl/strings/match.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"
#include "worker/testing/commit_state.h"
#include "worker/training/formula/device_trainer.h"
#include "worker/training/formula/tensor_kernels.h"

namespace tritter {

std::unique_ptr<Trainer> MakeTrainerOf(TrainerKind kind, const RunSpec& spec,
                                       Collective* collective, bool mixed) {
  static const TensorKernels kernels;
  Trainer::Options options;
  options.spec = spec;
  options.collective = collective;
  options.mixed_devices = mixed;
  TrainingDevice device;
  device.kernels = &kernels;
  auto trainer = kind == TrainerKind::kDevice ? CreateDeviceTrainer(options, device)
                                              : Trainer::Create(options);
  EXPECT_OK(trainer.status());
  EXPECT_OK((*trainer)->InitialiseFresh());
  return *std::move(trainer);
}

std::map<std::string, std::string> TakeTensors(Trainer* trainer, const std::string& prefix) {
  const auto alone = SingleProcessCollective();  // whose only rank writes everything
  trainer->Rebind(alone.get());
  MemoryEnv env;
  const auto checkpoint = CommitState(trainer, CheckpointsOfRun(&env, "/run").get());
  std::map<std::string, std::string> tensors;
  for (const ManifestFile& file : checkpoint->manifest().files) {
    auto share = SafetensorsFile::Open(*checkpoint->Open(file.name), file.name);
    EXPECT_OK(share.status());
    for (const std::string& name : (*share)->names()) {
      if (!absl::StartsWith(name, prefix)) continue;
      const TensorView tensor = *(*share)->Get(name);
      tensors[name] = std::string(tensor.bytes.begin(), tensor.bytes.end());
    }
  }
  trainer->Rebind(nullptr);
  return tensors;
}

}  // namespace tritter
