// What a caller may do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tritter {

enum class Role {
  kRead,     // look at runs, workers, events, logs
  kSubmit,   // check and submit runs
  kOperate,  // change what runs: pause, resume, cancel, load models; read the audit log
  kInfer,    // ask models
  kWorker,   // train
};

const char* RoleName(Role role);                        // "read"
std::optional<Role> ParseRole(absl::string_view name);  // as RoleName
const std::vector<std::string>& RoleNames();

// Who may submit or operate may also read: what they do is of no use otherwise.
class RoleSet {
 public:
  RoleSet() = default;
  static RoleSet All();
  void Add(Role role);
  bool Has(Role role) const { return (bits_ & Bit(role)) != 0; }
  std::string ToString() const;  // "read, submit"; "none"
  std::vector<std::string> Names() const;

 private:
  static uint32_t Bit(Role role) { return uint32_t{1} << static_cast<int>(role); }
  uint32_t bits_ = 0;
};

}  // namespace tritter
