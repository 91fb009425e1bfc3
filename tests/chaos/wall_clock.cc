#include "tests/chaos/wall_clock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/errno_status.h"

namespace tritter::chaos {

absl::StatusOr<std::unique_ptr<WallClock>> WallClock::Create(const std::string& path,
                                                             const std::string& library) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus("create", path);
  void* mapped = MAP_FAILED;
  if (ftruncate(fd, sizeof(int64_t)) == 0)
    mapped = mmap(nullptr, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = errno;
  close(fd);
  if (mapped == MAP_FAILED) return ErrnoStatus("map", path, error);
  return std::unique_ptr<WallClock>(
      new WallClock(path, std::filesystem::absolute(library), static_cast<int64_t*>(mapped)));
}

WallClock::~WallClock() { munmap(offset_, sizeof(int64_t)); }

std::vector<std::string> WallClock::environment() const {
  return {absl::StrCat("LD_PRELOAD=", library_), absl::StrCat("TEST_WALL_CLOCK=", path_)};
}

void WallClock::Jump(absl::Duration by) {
  std::atomic_ref<int64_t>(*offset_).fetch_add(absl::ToInt64Nanoseconds(by));
}

}  // namespace tritter::chaos
