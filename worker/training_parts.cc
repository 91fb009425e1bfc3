#include "worker/training_parts.h"

#include <utility>

#include "worker/shard_data.h"
#include "worker/training/formula/device_trainer.h"

namespace tritter {
namespace {

class TrainingParts final : public EpochParts {
 public:
  explicit TrainingParts(TrainingPartsOptions options) : options_(std::move(options)) {}

  absl::StatusOr<std::unique_ptr<EpochData>> OpenData(const RunSpec& spec) override {
    return OpenShardData(options_.env, spec);
  }
  absl::StatusOr<std::unique_ptr<Rendezvous>> OpenRendezvous(int world_size) override {
    return tritter::OpenRendezvous(options_.advertise_host, world_size);
  }
  absl::StatusOr<std::unique_ptr<Collective>> Connect(const std::string& address, Rendezvous* own,
                                                      const std::string& prefix, int rank,
                                                      int world_size,
                                                      absl::Duration timeout) override {
    if (options_.cuda_ordinal >= 0) {
      return options_.cuda->connect(address, prefix, rank, world_size, options_.cuda_ordinal,
                                    timeout);
    }
    return ConnectCollective(address, own, prefix, rank, world_size, timeout,
                             options_.advertise_host);
  }
  absl::StatusOr<std::unique_ptr<Trainer>> CreateTrainer(const RunSpec& spec,
                                                         Collective* collective) override {
    Trainer::Options options;
    options.spec = spec;
    options.collective = collective;
    options.threads = options_.threads;
    if (options_.cuda_ordinal < 0) return Trainer::Create(options);
    TrainingDevice device;
    device.ordinal = options_.cuda_ordinal;
    device.name = options_.cuda->device_name(options_.cuda_ordinal);
    device.kernels = options_.cuda->kernels();
    device.bf16 = spec.precision != "fp32";
    return CreateDeviceTrainer(options, device);
  }

 private:
  const TrainingPartsOptions options_;
};

}  // namespace

std::unique_ptr<EpochParts> MakeTrainingParts(TrainingPartsOptions options) {
  return std::make_unique<TrainingParts>(std::move(options));
}

}  // namespace tritter
