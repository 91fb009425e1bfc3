// A group over host memory for a rank whose gradients lie on a device: of CPUs and GPUs together.
#pragma once

#include <memory>

#include "worker/collective.h"

namespace tritter {

// As `on_host`, for buffers of AllReduceSum that lie on the CUDA device `device` (-1: the CPU):
// each is copied to host memory when its sum is started and back by Wait, on the current stream of
// the device. The other operations take host buffers and pass through. A buffer that is said to lie
// elsewhere is InvalidArgument; a copy that fails Internal, or ResourceExhausted (memory).
std::unique_ptr<Collective> HostStagedCollective(std::unique_ptr<Collective> on_host, int device);

}  // namespace tritter
