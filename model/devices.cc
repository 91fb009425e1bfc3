#include "model/devices.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nearest_word.h"

namespace tritter {
namespace {

struct Row {
  const char* name;
  double memory_gb, bandwidth_gb, host_gb;  // 1e9 bytes, and per second
  double fp32_tera, bf16_tera, int8_tera;   // 1e12 operations per second
};

// clang-format off
constexpr Row kDevices[] = {
    // name        memory  bandwidth  host   FP32    BF16    INT8
    {"RTX 3090 Ti",    24,    1008,   31.5,  40.0,   80.0,  320.0},
    {"RTX 4090",       24,    1008,   31.5,  82.6,  165.2,  660.6},
    {"RTX 5080",       16,     960,   63.0,  56.3,  112.6,  450.2},
    {"A100",           80,    2039,   31.5,  19.5,  312.0,  624.0},  // SXM
    {"H100",           80,    3350,   63.0,  66.9,  989.4, 1978.9},  // SXM
    {"H200",          141,    4800,   63.0,  66.9,  989.4, 1978.9},  // SXM
};
// clang-format on

std::string Plain(absl::string_view name) {
  std::string out;
  for (const char c : name) {
    if (absl::ascii_isalnum(c)) out += absl::ascii_tolower(c);
  }
  return out;
}

}  // namespace

std::vector<std::string> DeviceNames() {
  std::vector<std::string> names;
  for (const Row& row : kDevices) names.push_back(row.name);
  return names;
}

absl::StatusOr<DeviceSpec> FindDevice(absl::string_view name) {
  for (const Row& row : kDevices) {
    if (Plain(name) != Plain(row.name)) continue;
    DeviceSpec device;
    device.name = row.name;
    device.memory_bytes = static_cast<int64_t>(row.memory_gb * 1e9);
    device.bandwidth = row.bandwidth_gb * 1e9;
    device.host_bandwidth = row.host_gb * 1e9;
    device.fp32 = row.fp32_tera * 1e12;
    device.bf16 = row.bf16_tera * 1e12;
    device.int8 = row.int8_tera * 1e12;
    return device;
  }
  const std::string nearest = NearestWord(name, DeviceNames());
  return absl::NotFoundError(
      absl::StrCat("no device is called `", name, "`",
                   nearest.empty() ? "" : absl::StrCat(" (did you mean `", nearest, "`?)"),
                   "; there are ", absl::StrJoin(DeviceNames(), ", ")));
}

}  // namespace tritter
