#include "worker/testing/device_parts.h"

#include <string>
#include <utility>

#include "common/status_macros.h"
#include "worker/host_staged_collective.h"
#include "worker/training/formula/device_trainer.h"
#include "worker/training/formula/tensor_kernels.h"

namespace tritter {
namespace {

class OnFormulas final : public EpochParts {
 public:
  explicit OnFormulas(EpochParts* real) : real_(real) {}
  absl::StatusOr<std::unique_ptr<EpochData>> OpenData(const RunSpec& spec) override {
    return real_->OpenData(spec);
  }
  absl::StatusOr<std::unique_ptr<Rendezvous>> OpenRendezvous(int world_size) override {
    return real_->OpenRendezvous(world_size);
  }
  absl::StatusOr<std::unique_ptr<Collective>> Connect(const std::string& address, Rendezvous* own,
                                                      const GroupPlace& place) override {
    ASSIGN_OR_RETURN(std::unique_ptr<Collective> group, real_->Connect(address, own, place));
    if (!place.mixed_devices) return group;
    return HostStagedCollective(std::move(group), -1);
  }
  absl::StatusOr<std::unique_ptr<Trainer>> CreateTrainer(const RunSpec& spec,
                                                         Collective* collective,
                                                         bool mixed_devices) override {
    static const TensorKernels kernels;
    Trainer::Options options;
    options.spec = spec;
    options.collective = collective;
    options.mixed_devices = mixed_devices;
    TrainingDevice device;
    device.kernels = &kernels;
    return CreateDeviceTrainer(options, device);
  }

 private:
  EpochParts* const real_;
};

}  // namespace

std::unique_ptr<EpochParts> DeviceParts(EpochParts* real) {
  return std::make_unique<OnFormulas>(real);
}

}  // namespace tritter
