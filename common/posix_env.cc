// Env::Real(): POSIX files.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/env.h"
#include "common/errno_status.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr size_t kBufferBytes = 64 << 10;

class PosixWritableFile : public WritableFile {
 public:
  PosixWritableFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~PosixWritableFile() override { Close().IgnoreError(); }

  absl::Status Append(absl::string_view data) override {
    if (fd_ < 0) return absl::FailedPreconditionError(absl::StrCat(path_, ": already closed"));
    if (buffer_.size() + data.size() < kBufferBytes) {
      buffer_.append(data.data(), data.size());
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Flush());
    return Write(data);
  }

  absl::Status Sync() override {
    if (fd_ < 0) return absl::FailedPreconditionError(absl::StrCat(path_, ": already closed"));
    RETURN_IF_ERROR(Flush());
    // After a failed fsync the kernel may have dropped the dirty pages: never tried again.
    if (fsync(fd_) != 0) return ErrnoStatus("fsync", path_);
    return absl::OkStatus();
  }

  absl::Status Close() override {
    if (fd_ < 0) return absl::OkStatus();
    absl::Status status = Flush();
    if (close(fd_) != 0 && status.ok()) status = ErrnoStatus("close", path_);
    fd_ = -1;
    return status;
  }

 private:
  absl::Status Flush() {
    const std::string data = std::move(buffer_);
    buffer_.clear();
    return Write(data);
  }

  absl::Status Write(absl::string_view data) {
    while (!data.empty()) {
      const ssize_t n = write(fd_, data.data(), data.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(absl::StrCat("write at byte ", offset_), path_);
      offset_ += n;
      data.remove_prefix(n);
    }
    return absl::OkStatus();
  }

  const std::string path_;
  int fd_;
  uint64_t offset_ = 0;  // bytes handed to the system so far
  std::string buffer_;
};

class PosixMappedFile : public MappedFile {
 public:
  PosixMappedFile(void* data, size_t size) : data_(data), size_(size) {}
  ~PosixMappedFile() override {
    if (data_ != nullptr) munmap(data_, size_);
  }
  absl::Span<const uint8_t> bytes() const override {
    return {static_cast<const uint8_t*>(data_), size_};
  }

 private:
  void* data_;
  size_t size_;
};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::StatusOr<uint64_t> OpenedFileSize(int fd, const std::string& path) {
  struct stat st;
  if (fstat(fd, &st) != 0) return ErrnoStatus("stat", path);
  if (S_ISDIR(st.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": is a folder, not a file"));
  }
  return static_cast<uint64_t>(st.st_size);
}

class PosixEnv : public Env {
 public:
  absl::StatusOr<std::unique_ptr<WritableFile>> NewWritableFile(const std::string& path) override {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return ErrnoStatus("open for writing", path);
    return std::make_unique<PosixWritableFile>(path, fd);
  }

  absl::StatusOr<std::unique_ptr<MappedFile>> MapFile(const std::string& path) override {
    Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return ErrnoStatus("open", path);
    ASSIGN_OR_RETURN(const uint64_t size, OpenedFileSize(fd.get(), path));
    void* data = nullptr;  // mmap refuses an empty range
    if (size > 0) {
      data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
      if (data == MAP_FAILED) return ErrnoStatus("mmap", path);
    }
    return std::make_unique<PosixMappedFile>(data, size);
  }

  absl::StatusOr<std::string> ReadFile(const std::string& path) override {
    Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return ErrnoStatus("open", path);
    ASSIGN_OR_RETURN(const uint64_t size, OpenedFileSize(fd.get(), path));
    std::string data(size + 1, '\0');  // the last read finds the end without growing
    size_t done = 0;
    for (;;) {
      if (done == data.size()) data.resize(done + 4096);  // it grows, or has no size (/proc)
      const ssize_t n = read(fd.get(), &data[done], data.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus("read", path);
      if (n == 0) break;
      done += n;
    }
    data.resize(done);
    return data;
  }

  bool Exists(const std::string& path) override {
    struct stat st;
    return lstat(path.c_str(), &st) == 0;
  }
  bool IsDirectory(const std::string& path) override {
    struct stat st;
    return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
  }
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override {
    struct stat st;
    if (stat(path.c_str(), &st) != 0) return ErrnoStatus("stat", path);
    if (S_ISDIR(st.st_mode)) {
      return absl::FailedPreconditionError(absl::StrCat(path, ": is a folder, not a file"));
    }
    return static_cast<uint64_t>(st.st_size);
  }

  absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) override {
    DIR* dir = opendir(path.c_str());
    if (dir == nullptr) return ErrnoStatus("list", path);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(dir)) {
      const absl::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    const absl::Status status = errno == 0 ? absl::OkStatus() : ErrnoStatus("list", path);
    closedir(dir);
    if (!status.ok()) return status;
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status CreateDirs(const std::string& path) override {
    if (path.empty() || IsDirectory(path)) return absl::OkStatus();
    const std::string parent = Dirname(path);
    if (parent != path) RETURN_IF_ERROR(CreateDirs(parent));
    if (mkdir(path.c_str(), 0777) != 0) {
      const int error = errno;
      if (error == EEXIST && IsDirectory(path)) return absl::OkStatus();  // somebody else made it
      return ErrnoStatus("create folder", path, error);
    }
    return SyncDir(parent);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) {
      const int error = errno;
      return ErrnoStatus(absl::StrCat("rename to ", to), from, error);
    }
    return absl::OkStatus();
  }

  absl::Status SyncDir(const std::string& path) override {
    Descriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return ErrnoStatus("open folder", path);
    // Some network file systems have no fsync of a folder; their renames are synchronous.
    if (fsync(fd.get()) != 0 && errno != EINVAL) return ErrnoStatus("fsync folder", path);
    return absl::OkStatus();
  }

  absl::Status RemoveFile(const std::string& path) override {
    if (unlink(path.c_str()) != 0) return ErrnoStatus("remove", path);
    return absl::OkStatus();
  }

  // Does not follow symbolic links: a link in the tree is removed, not what it points to.
  absl::Status RemoveTree(const std::string& path) override {
    struct stat st;
    if (lstat(path.c_str(), &st) != 0) {
      if (errno == ENOENT) return absl::OkStatus();
      return ErrnoStatus("stat", path);
    }
    if (!S_ISDIR(st.st_mode)) return RemoveFile(path);
    ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDir(path));
    for (const std::string& name : names) RETURN_IF_ERROR(RemoveTree(JoinPath(path, name)));
    if (rmdir(path.c_str()) != 0) return ErrnoStatus("remove folder", path);
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override {
    struct statvfs st;
    if (statvfs(path.c_str(), &st) != 0) return ErrnoStatus("statvfs", path);
    return static_cast<uint64_t>(st.f_bavail) * st.f_frsize;
  }
};

}  // namespace

Env* Env::Real() {
  static PosixEnv* const env = new PosixEnv;
  return env;
}

}  // namespace tritter
