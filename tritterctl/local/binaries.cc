#include "tritterctl/local/binaries.h"

#include <filesystem>

#include "absl/strings/str_cat.h"

namespace tritter {

absl::StatusOr<std::string> FindBinary(Env* env, const std::string& own_folder,
                                       const std::string& component, const std::string& given) {
  if (!given.empty()) {
    if (env->Exists(given) && !env->IsDirectory(given)) return given;
    return absl::NotFoundError(absl::StrCat("--", component, "-binary: ", given, ": no such file"));
  }
  const std::string name = absl::StrCat("tritter_", component);
  const std::string candidates[] = {
      JoinPath(Dirname(own_folder), absl::StrCat(component, "/", name)),
      JoinPath(own_folder, name)};
  for (const std::string& path : candidates) {
    if (env->Exists(path) && !env->IsDirectory(path)) return path;
  }
  return absl::NotFoundError(absl::StrCat(name, " is neither at ", candidates[0], " nor at ",
                                          candidates[1], "; build it with: bazel build //",
                                          component, ":", name, ", or name it with --", component,
                                          "-binary"));
}

absl::StatusOr<std::string> OwnFolder() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::InternalError(absl::StrCat("/proc/self/exe: ", error.message()));
  return self.parent_path().string();
}

}  // namespace tritter
