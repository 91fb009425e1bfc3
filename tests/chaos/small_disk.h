// A file system of a few megabytes that can be filled up and given room again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tritter::chaos {

// A tmpfs over `folder`, seen by this process and what it starts afterwards; goes with the object.
// After Isolate().
class SmallDisk {
 public:
  static absl::StatusOr<std::unique_ptr<SmallDisk>> Mount(const std::string& folder, int64_t bytes);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  absl::Status Fill();  // to the last byte
  absl::Status Free();

 private:
  explicit SmallDisk(std::string folder) : folder_(std::move(folder)) {}
  const std::string folder_;
};

}  // namespace tritter::chaos
