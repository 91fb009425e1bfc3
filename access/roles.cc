#include "access/roles.h"

#include "absl/strings/str_join.h"

namespace tritter {
namespace {
constexpr Role kRoles[] = {Role::kRead, Role::kSubmit, Role::kOperate, Role::kInfer, Role::kWorker};
}  // namespace

const char* RoleName(Role role) {
  switch (role) {
    case Role::kRead:
      return "read";
    case Role::kSubmit:
      return "submit";
    case Role::kOperate:
      return "operate";
    case Role::kInfer:
      return "infer";
    case Role::kWorker:
      return "worker";
  }
  return "";
}

std::optional<Role> ParseRole(absl::string_view name) {
  for (const Role role : kRoles) {
    if (name == RoleName(role)) return role;
  }
  return std::nullopt;
}

const std::vector<std::string>& RoleNames() {
  static const auto* const names = new std::vector<std::string>(RoleSet::All().Names());
  return *names;
}

RoleSet RoleSet::All() {
  RoleSet all;
  for (const Role role : kRoles) all.Add(role);
  return all;
}

void RoleSet::Add(Role role) {
  bits_ |= Bit(role);
  if (role == Role::kSubmit || role == Role::kOperate) bits_ |= Bit(Role::kRead);
}

std::vector<std::string> RoleSet::Names() const {
  std::vector<std::string> names;
  for (const Role role : kRoles) {
    if (Has(role)) names.push_back(RoleName(role));
  }
  return names;
}

std::string RoleSet::ToString() const { return bits_ == 0 ? "none" : absl::StrJoin(Names(), ", "); }

}  // namespace tritter
