#include "common/testing/memory_env.h"

#include <algorithm>
#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/errno_status.h"
#include "common/status_macros.h"

namespace tritter {

// A file or folder. `disk_*` is what is on the disk, the other what a running program sees.
struct MemoryEnv::Node {
  using Children = std::map<std::string, std::shared_ptr<Node>>;
  bool directory = false;
  std::string data, disk_data;
  Children children, disk_children;

  uint64_t Bytes() const {
    uint64_t sum = data.size();
    for (const auto& [name, child] : children) sum += child->Bytes();
    return sum;
  }
  void Crash(CrashMode mode) {
    if (mode == CrashMode::kLoseUnsynced) children = disk_children;
    if (mode != CrashMode::kKeepUnsynced) data = disk_data;
    disk_children = children;
    disk_data = data;
    for (auto& [name, child] : children) child->Crash(mode);
  }
};

struct MemoryEnv::Place {
  std::shared_ptr<Node> parent;
  std::string name;
};

namespace {

class Snapshot : public MappedFile {
 public:
  explicit Snapshot(std::string data) : data_(std::move(data)) {}
  absl::Span<const uint8_t> bytes() const override {
    return {reinterpret_cast<const uint8_t*>(data_.data()), data_.size()};
  }

 private:
  const std::string data_;
};

std::vector<std::string> Parts(const std::string& path) {
  std::vector<std::string> parts;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (part != ".") {
      parts.emplace_back(part);
    }
  }
  return parts;
}

}  // namespace

class MemoryEnv::File : public WritableFile {
 public:
  File(MemoryEnv* env, std::string path, std::shared_ptr<Node> node, int64_t life)
      : env_(env), path_(std::move(path)), node_(std::move(node)), life_(life) {}

  absl::Status Append(absl::string_view data) override {
    MutexLock lock(&env_->mu_);
    RETURN_IF_ERROR(Alive("write"));
    const uint64_t used = env_->root_->Bytes();
    const uint64_t room = env_->capacity_ > used ? env_->capacity_ - used : 0;
    const uint64_t offset = node_->data.size();
    node_->data.append(data.data(), std::min<uint64_t>(room, data.size()));  // as write(2) does
    if (data.size() > room) {
      return ErrnoStatus(absl::StrCat("write at byte ", offset), path_, ENOSPC);
    }
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    MutexLock lock(&env_->mu_);
    RETURN_IF_ERROR(Alive("fsync"));
    node_->disk_data = node_->data;
    return absl::OkStatus();
  }
  absl::Status Close() override {
    closed_ = true;
    return absl::OkStatus();
  }

 private:
  absl::Status Alive(absl::string_view action) const REQUIRES(env_->mu_) {
    if (closed_) return absl::FailedPreconditionError(absl::StrCat(path_, ": already closed"));
    if (life_ != env_->crashes_) return ErrnoStatus(action, path_, EIO);
    return absl::OkStatus();
  }

  MemoryEnv* const env_;
  const std::string path_;
  const std::shared_ptr<Node> node_;
  const int64_t life_;
  bool closed_ = false;
};

MemoryEnv::MemoryEnv()
    : root_(std::make_shared<Node>()), capacity_(std::numeric_limits<uint64_t>::max()) {
  root_->directory = true;
}

MemoryEnv::~MemoryEnv() = default;

std::shared_ptr<MemoryEnv::Node> MemoryEnv::FindLocked(const std::string& path) const {
  std::shared_ptr<Node> node = root_;
  for (const std::string& part : Parts(path)) {
    const auto it = node->children.find(part);
    if (it == node->children.end()) return nullptr;
    node = it->second;
  }
  return node;
}

absl::StatusOr<MemoryEnv::Place> MemoryEnv::ParentLocked(absl::string_view action,
                                                         const std::string& path) const {
  std::vector<std::string> parts = Parts(path);
  if (parts.empty()) return ErrnoStatus(action, path, EISDIR);
  std::shared_ptr<Node> node = root_;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    const auto it = node->children.find(parts[i]);
    if (it == node->children.end()) return ErrnoStatus(action, path, ENOENT);
    node = it->second;
    if (!node->directory) return ErrnoStatus(action, path, ENOTDIR);
  }
  return Place{std::move(node), parts.back()};
}

absl::StatusOr<std::shared_ptr<MemoryEnv::Node>> MemoryEnv::FileLocked(
    absl::string_view action, const std::string& path) const {
  std::shared_ptr<Node> node = FindLocked(path);
  if (node == nullptr) return ErrnoStatus(action, path, ENOENT);
  if (node->directory) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": is a folder, not a file"));
  }
  return node;
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryEnv::NewWritableFile(const std::string& path) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const Place place, ParentLocked("open for writing", path));
  std::shared_ptr<Node>& node = place.parent->children[place.name];
  if (node == nullptr) node = std::make_shared<Node>();
  if (node->directory) return ErrnoStatus("open for writing", path, EISDIR);
  node->data.clear();
  return std::make_unique<File>(this, path, node, crashes_);
}

absl::StatusOr<std::unique_ptr<MappedFile>> MemoryEnv::MapFile(const std::string& path) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, FileLocked("open", path));
  return std::make_unique<Snapshot>(node->data);
}

absl::StatusOr<std::string> MemoryEnv::ReadFile(const std::string& path) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, FileLocked("open", path));
  return node->data;
}

bool MemoryEnv::Exists(const std::string& path) {
  MutexLock lock(&mu_);
  return FindLocked(path) != nullptr;
}

bool MemoryEnv::IsDirectory(const std::string& path) {
  MutexLock lock(&mu_);
  const std::shared_ptr<Node> node = FindLocked(path);
  return node != nullptr && node->directory;
}

absl::StatusOr<uint64_t> MemoryEnv::FileSize(const std::string& path) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, FileLocked("stat", path));
  return node->data.size();
}

absl::StatusOr<std::vector<std::string>> MemoryEnv::ListDir(const std::string& path) {
  MutexLock lock(&mu_);
  const std::shared_ptr<Node> node = FindLocked(path);
  if (node == nullptr) return ErrnoStatus("list", path, ENOENT);
  if (!node->directory) return ErrnoStatus("list", path, ENOTDIR);
  std::vector<std::string> names;
  for (const auto& [name, child] : node->children) names.push_back(name);
  return names;
}

absl::Status MemoryEnv::CreateDirs(const std::string& path) {
  MutexLock lock(&mu_);
  std::shared_ptr<Node> node = root_;
  for (const std::string& part : Parts(path)) {
    std::shared_ptr<Node>& child = node->children[part];
    if (child == nullptr) {
      child = std::make_shared<Node>();
      child->directory = true;
      node->disk_children[part] = child;
    }
    if (!child->directory) return ErrnoStatus("create folder", path, EEXIST);
    node = std::shared_ptr<Node>(child);
  }
  return absl::OkStatus();
}

absl::Status MemoryEnv::Rename(const std::string& from, const std::string& to) {
  const std::string action = absl::StrCat("rename to ", to);
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const Place source, ParentLocked(action, from));
  ASSIGN_OR_RETURN(const Place target, ParentLocked(action, to));
  const auto it = source.parent->children.find(source.name);
  if (it == source.parent->children.end()) return ErrnoStatus(action, from, ENOENT);
  const std::shared_ptr<Node> node = it->second;
  std::shared_ptr<Node>& old = target.parent->children[target.name];
  if (old == node) return absl::OkStatus();
  if (old != nullptr && old->directory != node->directory) {
    return ErrnoStatus(action, from, old->directory ? EISDIR : ENOTDIR);
  }
  if (old != nullptr && !old->children.empty()) return ErrnoStatus(action, from, ENOTEMPTY);
  old = node;
  source.parent->children.erase(source.name);
  return absl::OkStatus();
}

absl::Status MemoryEnv::SyncDir(const std::string& path) {
  MutexLock lock(&mu_);
  const std::shared_ptr<Node> node = FindLocked(path);
  if (node == nullptr) return ErrnoStatus("open folder", path, ENOENT);
  if (!node->directory) return ErrnoStatus("open folder", path, ENOTDIR);
  node->disk_children = node->children;
  return absl::OkStatus();
}

absl::Status MemoryEnv::RemoveFile(const std::string& path) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const Place place, ParentLocked("remove", path));
  const auto it = place.parent->children.find(place.name);
  if (it == place.parent->children.end()) return ErrnoStatus("remove", path, ENOENT);
  if (it->second->directory) return ErrnoStatus("remove", path, EISDIR);
  place.parent->children.erase(it);
  return absl::OkStatus();
}

absl::Status MemoryEnv::RemoveTree(const std::string& path) {
  MutexLock lock(&mu_);
  const absl::StatusOr<Place> place = ParentLocked("remove", path);
  if (absl::IsNotFound(place.status())) return absl::OkStatus();
  RETURN_IF_ERROR(place.status());
  place->parent->children.erase(place->name);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> MemoryEnv::FreeBytes(const std::string& path) {
  MutexLock lock(&mu_);
  if (FindLocked(path) == nullptr) return ErrnoStatus("statvfs", path, ENOENT);
  const uint64_t used = root_->Bytes();
  return capacity_ > used ? capacity_ - used : 0;
}

void MemoryEnv::Crash(CrashMode mode) {
  MutexLock lock(&mu_);
  ++crashes_;
  root_->Crash(mode);
}

void MemoryEnv::SetCapacity(uint64_t bytes) {
  MutexLock lock(&mu_);
  capacity_ = bytes;
}

}  // namespace tritter
