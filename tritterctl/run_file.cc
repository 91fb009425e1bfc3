#include "tritterctl/run_file.h"

#include <filesystem>

#include "absl/strings/str_cat.h"

namespace tritter {

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  std::string out = (error ? std::filesystem::path(path) : absolute).lexically_normal().string();
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

absl::StatusOr<RunFile> ReadRunFile(Env* env, const std::string& path) {
  RunFile file;
  file.path = path;
  absl::StatusOr<std::string> yaml = env->ReadFile(path);
  if (!yaml.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(yaml.status().message(),
                     "\nhint: examples/shakespeare/run.yaml shows what a run looks like"));
  }
  file.yaml = *std::move(yaml);
  file.base_dir = Dirname(AbsolutePath(path));
  absl::StatusOr<RunSpec> spec = ParseRunSpec(file.yaml, path, file.base_dir);
  if (!spec.ok()) return spec.status();
  file.spec = *std::move(spec);
  return file;
}

}  // namespace tritter
