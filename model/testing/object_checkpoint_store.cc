#include "model/testing/object_checkpoint_store.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr char kManifestName[] = "manifest.json";

class ObjectBytes : public MappedFile {
 public:
  explicit ObjectBytes(std::string object) : object_(std::move(object)) {}
  absl::Span<const uint8_t> bytes() const override {
    return {reinterpret_cast<const uint8_t*>(object_.data()), object_.size()};
  }

 private:
  const std::string object_;
};

// An upload: the object appears when it is complete.
class Upload : public WritableFile {
 public:
  Upload(MemoryBucket* bucket, std::string key) : bucket_(bucket), key_(std::move(key)) {}
  absl::Status Append(absl::string_view data) override {
    absl::StrAppend(&object_, data);
    return absl::OkStatus();
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override {
    if (std::exchange(closed_, true)) return absl::OkStatus();
    return bucket_->Put(key_, std::move(object_));
  }

 private:
  MemoryBucket* const bucket_;
  const std::string key_;
  std::string object_;
  bool closed_ = false;
};

std::string StepPrefix(int64_t step) { return absl::StrFormat("step-%08d/", step); }
std::string ManifestKey(int64_t step) { return absl::StrCat(StepPrefix(step), kManifestName); }
std::string AttemptPrefix(const CheckpointAttempt& attempt) {
  return absl::StrCat(StepPrefix(attempt.step), attempt.name, "/");
}

class ObjectReader : public CheckpointReader {
 public:
  ObjectReader(const MemoryBucket* bucket, const std::string& json,
               const CheckpointManifest& manifest)
      : CheckpointReader(AttemptPrefix({manifest.step, manifest.attempt}), json, manifest),
        bucket_(bucket) {}
  absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& name) const override {
    ASSIGN_OR_RETURN(std::string object, bucket_->Get(LocationOf(name)));
    return std::make_unique<ObjectBytes>(std::move(object));
  }

 private:
  const MemoryBucket* const bucket_;
};

class ObjectStore : public CheckpointStore {
 public:
  explicit ObjectStore(MemoryBucket* bucket) : bucket_(bucket) {}

  std::string location() const override { return "the bucket"; }
  absl::Status Create() override { return absl::OkStatus(); }
  absl::Status Begin(const CheckpointAttempt&) override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<WritableFile>> Put(const CheckpointAttempt& attempt,
                                                    const std::string& name) override {
    return std::make_unique<Upload>(bucket_, AttemptPrefix(attempt) + name);
  }
  absl::StatusOr<uint64_t> FileBytes(const CheckpointAttempt& attempt,
                                     const std::string& name) override {
    ASSIGN_OR_RETURN(const std::string object, bucket_->Get(AttemptPrefix(attempt) + name));
    return object.size();
  }

  absl::StatusOr<std::unique_ptr<CheckpointReader>> Commit(
      const CheckpointManifest& manifest) override {
    const std::string prefix = AttemptPrefix({manifest.step, manifest.attempt});
    for (const ManifestFile& file : manifest.files) {
      if (absl::IsNotFound(bucket_->Get(prefix + file.name).status())) {
        return absl::DataLossError(
            absl::StrCat(prefix, file.name, " is gone before its checkpoint was committed"));
      }
    }
    const std::string json = ManifestToJson(manifest);
    RETURN_IF_ERROR(bucket_->Put(ManifestKey(manifest.step), json));
    return std::make_unique<ObjectReader>(bucket_, json, manifest);
  }

  absl::Status Confirm(int64_t) override { return absl::OkStatus(); }  // an object is there, or not

  absl::StatusOr<std::vector<int64_t>> Steps() override {
    std::vector<int64_t> steps;
    for (const std::string& key : bucket_->Keys("step-")) {
      int64_t step = 0;
      const size_t slash = key.find('/');
      if (absl::SimpleAtoi(key.substr(5, slash - 5), &step) && key == ManifestKey(step))
        steps.push_back(step);
    }
    return steps;
  }

  // The manifest first. Files of other attempts are CleanUp's.
  absl::Status Remove(int64_t step) override {
    const absl::StatusOr<std::unique_ptr<CheckpointReader>> there = Open(step);
    if (absl::IsNotFound(there.status())) return absl::OkStatus();
    RETURN_IF_ERROR(bucket_->Delete(ManifestKey(step)));
    return there.ok() ? DeleteAll((*there)->location()) : absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> CleanUp(const std::string& live_attempt) override {
    std::set<std::string> kept;  // attempts that are checkpoints
    ASSIGN_OR_RETURN(const std::vector<int64_t> steps, Steps());
    for (const int64_t step : steps) {
      const absl::StatusOr<std::unique_ptr<CheckpointReader>> there = Open(step);
      kept.insert(there.ok() ? (*there)->location() : StepPrefix(step));
    }
    std::set<std::string> dead;
    for (const std::string& key : bucket_->Keys("step-")) {
      const std::vector<std::string> parts = absl::StrSplit(key, '/');
      if (parts.size() != 3) continue;
      const std::string prefix = absl::StrCat(parts[0], "/", parts[1], "/");
      if (kept.contains(prefix) || kept.contains(parts[0] + "/") ||
          (!live_attempt.empty() && parts[1] == live_attempt))
        continue;
      dead.insert(prefix);
    }
    for (const std::string& prefix : dead) RETURN_IF_ERROR(DeleteAll(prefix));
    return std::vector<std::string>(dead.begin(), dead.end());
  }

  absl::StatusOr<std::unique_ptr<CheckpointReader>> Open(int64_t step) override {
    ASSIGN_OR_RETURN(const std::string json, bucket_->Get(ManifestKey(step)));
    ASSIGN_OR_RETURN(const CheckpointManifest manifest, ManifestFromJson(json, ManifestKey(step)));
    return std::make_unique<ObjectReader>(bucket_, json, manifest);
  }

 private:
  absl::Status DeleteAll(const std::string& prefix) {
    for (const std::string& key : bucket_->Keys(prefix)) RETURN_IF_ERROR(bucket_->Delete(key));
    return absl::OkStatus();
  }

  MemoryBucket* const bucket_;
};

}  // namespace

absl::Status MemoryBucket::Change(const std::string& what, const std::string& key,
                                  const std::string* object) {
  MutexLock lock(&mu_);
  ++changes_;
  if (!tripped_) last_ = absl::StrCat(what, " ", key);
  const bool fails = fail_at_ > 0 && changes_ >= fail_at_;
  if (!fails || (done_ && changes_ == fail_at_)) {
    if (object != nullptr) {
      objects_[key] = *object;
    } else {
      objects_.erase(key);
    }
  }
  if (!fails) return absl::OkStatus();
  tripped_ = true;
  return absl::InternalError(absl::StrCat(what, " ", key, ": injected fault"));
}

absl::Status MemoryBucket::Put(const std::string& key, std::string object) {
  return Change("put", key, &object);
}

absl::Status MemoryBucket::Delete(const std::string& key) { return Change("delete", key, nullptr); }

absl::StatusOr<std::string> MemoryBucket::Get(const std::string& key) const {
  MutexLock lock(&mu_);
  const auto found = objects_.find(key);
  if (found == objects_.end()) return absl::NotFoundError(absl::StrCat(key, ": no such object"));
  return found->second;
}

std::vector<std::string> MemoryBucket::Keys(const std::string& prefix) const {
  MutexLock lock(&mu_);
  std::vector<std::string> keys;
  for (const auto& [key, object] : objects_) {
    if (absl::StartsWith(key, prefix)) keys.push_back(key);
  }
  return keys;
}

void MemoryBucket::FailAt(int64_t n, bool done) {
  MutexLock lock(&mu_);
  changes_ = 0;
  fail_at_ = n;
  done_ = done;
  tripped_ = false;
}

bool MemoryBucket::tripped() const {
  MutexLock lock(&mu_);
  return tripped_;
}

std::string MemoryBucket::last() const {
  MutexLock lock(&mu_);
  return last_;
}

std::unique_ptr<CheckpointStore> ObjectCheckpointStore(MemoryBucket* bucket) {
  return std::make_unique<ObjectStore>(bucket);
}

}  // namespace tritter
