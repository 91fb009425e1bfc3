// The version all binaries report.
#pragma once

namespace tritter {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace tritter
