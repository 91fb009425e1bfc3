// Named devices as data, for planning. Figures are the makers' for dense (not sparse) products;
// nothing is measured here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

struct DeviceSpec {
  std::string name;
  int64_t memory_bytes = 0;
  double bandwidth = 0;       // bytes per second of its memory
  double host_bandwidth = 0;  // bytes per second from host memory, one direction
  // Operations per second by type, a multiply-add counted as two; FP32 accumulation for BF16.
  double fp32 = 0, bf16 = 0, int8 = 0;
};

std::vector<std::string> DeviceNames();
// Case, spaces and hyphens do not matter: "RTX 4090", "rtx4090". NotFound with the nearest name.
absl::StatusOr<DeviceSpec> FindDevice(absl::string_view name);

}  // namespace tritter
