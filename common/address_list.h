// Addresses of several servers of which any will do, or one at a time:
// "10.0.0.1:7070,10.0.0.2:7070".
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

// In the order given. Errors: InvalidArgument, naming the one that is no host:port or is there
// twice.
absl::StatusOr<std::vector<std::string>> ParseAddressList(absl::string_view list);

}  // namespace tritter
