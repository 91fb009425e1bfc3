#include "common/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/env.h"
#include "common/errno_status.h"

namespace tritter {
namespace {

// "process 123 (coordinator)"; of what is written, which may be nothing yet.
std::string Holder(const std::string& path) {
  std::string pid = Env::Real()->ReadFile(path).value_or("");
  absl::string_view digits = pid;
  absl::ConsumeSuffix(&digits, "\n");
  if (digits.empty()) return "another process";
  std::string name = Env::Real()->ReadFile(absl::StrCat("/proc/", digits, "/comm")).value_or("");
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return absl::StrCat("process ", digits, name.empty() ? "" : absl::StrCat(" (", name, ")"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileLock>> FileLock::Acquire(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return ErrnoStatus("open lock file", path);
  auto lock = absl::WrapUnique(new FileLock(fd));
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return ErrnoStatus("lock", path);
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": is held by ", Holder(path), "; stop that process first, or use another folder"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    return ErrnoStatus("write lock file", path);
  }
  return lock;
}

FileLock::~FileLock() { close(fd_); }

}  // namespace tritter
