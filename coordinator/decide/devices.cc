#include "coordinator/decide/devices.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tritter {

bool IsGpu(absl::string_view device) { return absl::StartsWith(device, "cuda"); }

std::string DeviceModel(const std::string& device) {
  if (!absl::StartsWith(device, "cuda:")) return device;
  size_t at = 5;
  while (at < device.size() && absl::ascii_isdigit(static_cast<unsigned char>(device[at]))) ++at;
  return absl::StrCat("cuda", device.substr(at));
}

bool AreMixed(absl::Span<const std::string> devices) {
  return std::any_of(devices.begin(), devices.end(),
                     [&](const std::string& device) { return IsGpu(device) != IsGpu(devices[0]); });
}

}  // namespace tritter
