#include "tests/chaos/small_disk.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/errno_status.h"
#include "common/status_macros.h"

namespace tritter::chaos {
namespace {
constexpr char kBallast[] = "ballast";
}

absl::StatusOr<std::unique_ptr<SmallDisk>> SmallDisk::Mount(const std::string& folder,
                                                            int64_t bytes) {
  RETURN_IF_ERROR(Env::Real()->CreateDirs(folder));
  if (mount("tmpfs", folder.c_str(), "tmpfs", 0, absl::StrCat("size=", bytes).c_str()) != 0)
    return ErrnoStatus("mount a small disk at", folder);
  return std::unique_ptr<SmallDisk>(new SmallDisk(folder));
}

SmallDisk::~SmallDisk() { umount2(folder_.c_str(), MNT_DETACH); }

absl::Status SmallDisk::Fill() {
  const std::string path = JoinPath(folder_, kBallast);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus("open", path);
  const std::vector<char> block(64 << 10);
  while (write(fd, block.data(), block.size()) > 0) {
  }
  const int error = errno;
  close(fd);
  return error == ENOSPC ? absl::OkStatus() : ErrnoStatus("fill", path, error);
}

absl::Status SmallDisk::Free() { return Env::Real()->RemoveFile(JoinPath(folder_, kBallast)); }

}  // namespace tritter::chaos
