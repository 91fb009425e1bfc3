#include "worker/training_parts.h"

#include <utility>

#include "common/status_macros.h"
#include "worker/host_staged_collective.h"
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
                                                      const GroupPlace& place) override {
    const bool on_cuda = options_.cuda_ordinal >= 0;
    if (on_cuda && !place.mixed_devices) {
      return options_.cuda->connect(address, place.prefix, place.rank, place.world_size,
                                    options_.cuda_ordinal, place.timeout);
    }
    ASSIGN_OR_RETURN(std::unique_ptr<Collective> gloo,
                     ConnectCollective(address, own, place.prefix, place.rank, place.world_size,
                                       place.timeout, options_.advertise_host));
    if (!on_cuda) return gloo;
    return HostStagedCollective(std::move(gloo), options_.cuda_ordinal);
  }
  absl::StatusOr<std::unique_ptr<Trainer>> CreateTrainer(const RunSpec& spec,
                                                         Collective* collective,
                                                         bool mixed_devices) override {
    Trainer::Options options;
    options.spec = spec;
    options.collective = collective;
    options.threads = options_.threads;
    options.mixed_devices = mixed_devices;
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
