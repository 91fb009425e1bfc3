// What the forward pass of a device is held to: the logits of the CPU's, bit for bit as long as
// rows see one split (cuda::kSplitPositions). Linked into a program that says which device.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "inference/forward_backend.h"

namespace tritter {

// Defined by the program.
absl::StatusOr<std::unique_ptr<ForwardBackend>> MakeDeviceUnderTest(const PackedModel& model,
                                                                    KvFormat kv_format,
                                                                    int64_t kv_pages,
                                                                    const StreamOptions& streaming);

}  // namespace tritter
