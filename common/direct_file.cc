#include "common/direct_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/errno_status.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<DirectFile>> DirectFile::Open(const std::string& path, bool direct) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC;
  int descriptor = open(path.c_str(), kFlags | (direct ? O_DIRECT : 0));
  const bool opened_direct = direct && descriptor >= 0;
  if (descriptor < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
    descriptor = open(path.c_str(), kFlags);
  if (descriptor < 0) return ErrnoStatus("open", path);
  std::unique_ptr<DirectFile> file(new DirectFile(path, descriptor));
  file->direct_ = opened_direct;
  struct stat st;
  if (fstat(descriptor, &st) != 0) return ErrnoStatus("stat", path);
  if (!S_ISREG(st.st_mode))
    return absl::FailedPreconditionError(absl::StrCat(path, ": is not a plain file"));
  file->bytes_ = static_cast<uint64_t>(st.st_size);
  RETURN_IF_ERROR(file->TryReading());
  if (!file->direct_) {
    LogInfo("direct_reads_refused",
            {{"path", path},
             {"reason", direct ? "the file system has none" : "they are switched off"},
             {"instead", "reads through the page cache"}});
  }
  return file;
}

// Some file systems take the flag and refuse the read.
absl::Status DirectFile::TryReading() {
  alignas(kAlignment) static thread_local char block[kAlignment];
  for (;;) {
    if (pread(descriptor_, block, sizeof(block), 0) >= 0) return absl::OkStatus();
    if (errno == EINTR) continue;
    if (!direct_ || errno != EINVAL) return ErrnoStatus("read at offset 0", path_);
    if (fcntl(descriptor_, F_SETFL, O_RDONLY) != 0) return ErrnoStatus("fcntl", path_);
    direct_ = false;
  }
}

DirectFile::~DirectFile() { close(descriptor_); }

}  // namespace tritter
