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

namespace {

// Of "cpu avx2 fma x4"; every GPU does.
bool FusesMultiplyAdd(absl::string_view device) {
  return IsGpu(device) || absl::StrContains(device, " fma");
}

// Without the threads, over which a matrix is never divided.
std::string Arithmetic(const std::string& device) {
  if (IsGpu(device)) return DeviceModel(device);
  return device.substr(0, device.rfind(" x"));
}

template <typename Of>
bool Differ(absl::Span<const std::string> devices, const Of& of) {
  return std::any_of(devices.begin(), devices.end(),
                     [&](const std::string& device) { return of(device) != of(devices[0]); });
}

}  // namespace

bool AreCpusAndGpus(absl::Span<const std::string> devices) { return Differ(devices, IsGpu); }

bool AreMixed(const RunSpec& spec, absl::Span<const std::string> devices) {
  return AreCpusAndGpus(devices) || Differ(devices, FusesMultiplyAdd) ||
         (spec.optimizer == "muon" && Differ(devices, Arithmetic));
}

bool MayBeMixed(const RunSpec& spec) {
  return spec.max_workers > 1 && (spec.device == "any" || spec.optimizer == "muon");
}

}  // namespace tritter
