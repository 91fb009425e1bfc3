#include "common/testing/fault_env.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

class FaultEnv::File : public WritableFile {
 public:
  File(FaultEnv* env, std::string path, std::unique_ptr<WritableFile> base)
      : env_(env), path_(std::move(path)), base_(std::move(base)) {}

  absl::Status Append(absl::string_view data) override {
    absl::Status failure;
    switch (env_->Count(absl::StrCat("Append ", path_), &failure)) {
      case Verdict::kGo:
        return base_->Append(data);
      case Verdict::kFailAfterDoing:
        base_->Append(data.substr(0, data.size() / 2)).IgnoreError();
        return failure;
      case Verdict::kFail:
        return failure;
    }
    return failure;
  }
  absl::Status Sync() override {
    return env_->Change(absl::StrCat("Sync ", path_), [&] { return base_->Sync(); });
  }
  absl::Status Close() override {
    if (closed_) return absl::OkStatus();
    closed_ = true;
    return env_->Change(absl::StrCat("Close ", path_), [&] { return base_->Close(); });
  }

 private:
  FaultEnv* const env_;
  const std::string path_;
  const std::unique_ptr<WritableFile> base_;
  bool closed_ = false;
};

void FaultEnv::FailAt(int64_t n, absl::Status status, bool half) {
  MutexLock lock(&mu_);
  changes_ = 0;
  fail_at_ = n;
  failure_ = std::move(status);
  half_ = half;
  tripped_ = false;
}

void FaultEnv::Heal() { FailAt(0, absl::OkStatus()); }

int64_t FaultEnv::changes() {
  MutexLock lock(&mu_);
  return changes_;
}

bool FaultEnv::tripped() {
  MutexLock lock(&mu_);
  return tripped_;
}

std::string FaultEnv::last() {
  MutexLock lock(&mu_);
  return last_;
}

FaultEnv::Verdict FaultEnv::Count(const std::string& what, absl::Status* failure) {
  MutexLock lock(&mu_);
  ++changes_;
  if (!tripped_) last_ = what;
  if (fail_at_ == 0 || changes_ < fail_at_) return Verdict::kGo;
  tripped_ = true;
  *failure = Annotate(failure_, what);
  return changes_ == fail_at_ && half_ ? Verdict::kFailAfterDoing : Verdict::kFail;
}

absl::Status FaultEnv::Change(const std::string& what, const std::function<absl::Status()>& act) {
  absl::Status failure;
  const Verdict verdict = Count(what, &failure);
  if (verdict == Verdict::kFail) return failure;
  absl::Status status = act();
  return verdict == Verdict::kGo ? status : failure;
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultEnv::NewWritableFile(const std::string& path) {
  std::unique_ptr<WritableFile> base;
  RETURN_IF_ERROR(Change(absl::StrCat("NewWritableFile ", path), [&]() -> absl::Status {
    ASSIGN_OR_RETURN(base, base_->NewWritableFile(path));
    return absl::OkStatus();
  }));
  return std::make_unique<File>(this, path, std::move(base));
}

absl::StatusOr<std::unique_ptr<MappedFile>> FaultEnv::MapFile(const std::string& path) {
  return base_->MapFile(path);
}
absl::StatusOr<std::string> FaultEnv::ReadFile(const std::string& path) {
  return base_->ReadFile(path);
}
bool FaultEnv::Exists(const std::string& path) { return base_->Exists(path); }
bool FaultEnv::IsDirectory(const std::string& path) { return base_->IsDirectory(path); }
absl::StatusOr<uint64_t> FaultEnv::FileSize(const std::string& path) {
  return base_->FileSize(path);
}
absl::StatusOr<std::vector<std::string>> FaultEnv::ListDir(const std::string& path) {
  return base_->ListDir(path);
}
absl::Status FaultEnv::CreateDirs(const std::string& path) {
  return Change(absl::StrCat("CreateDirs ", path), [&] { return base_->CreateDirs(path); });
}
absl::Status FaultEnv::Rename(const std::string& from, const std::string& to) {
  return Change(absl::StrCat("Rename ", from, " -> ", to), [&] { return base_->Rename(from, to); });
}
absl::Status FaultEnv::SyncDir(const std::string& path) {
  return Change(absl::StrCat("SyncDir ", path), [&] { return base_->SyncDir(path); });
}
absl::Status FaultEnv::RemoveFile(const std::string& path) {
  return Change(absl::StrCat("RemoveFile ", path), [&] { return base_->RemoveFile(path); });
}
absl::Status FaultEnv::RemoveTree(const std::string& path) {
  return Change(absl::StrCat("RemoveTree ", path), [&] { return base_->RemoveTree(path); });
}
absl::StatusOr<uint64_t> FaultEnv::FreeBytes(const std::string& path) {
  return base_->FreeBytes(path);
}

int ForEachCrashPoint(const std::function<void(MemoryEnv*)>& prepare,
                      const std::function<absl::Status(Env*)>& act,
                      const std::function<void(MemoryEnv*, const std::string& where)>& check) {
  static constexpr std::pair<CrashMode, const char*> kModes[] = {
      {CrashMode::kLoseUnsynced, "unsynced lost"},
      {CrashMode::kKeepUnsynced, "unsynced kept"},
      {CrashMode::kKeepNamesOnly, "names kept, unsynced bytes lost"}};
  int cases = 0;
  for (const bool half : {false, true}) {
    for (const auto& [mode, mode_name] : kModes) {
      for (int64_t n = 1;; ++n) {
        MemoryEnv mem;
        prepare(&mem);
        mem.Crash(CrashMode::kKeepUnsynced);  // what was there before is durable
        FaultEnv env(&mem);
        env.FailAt(n, absl::InternalError("injected fault"), half);
        const absl::Status status = act(&env);
        mem.Crash(mode);
        const bool tripped = env.tripped();
        const std::string where = tripped
                                      ? absl::StrCat("change ", n, half ? " (half done): " : ": ",
                                                     env.last(), "; ", mode_name)
                                      : absl::StrCat("no fault; ", mode_name);
        if (!tripped) EXPECT_TRUE(status.ok()) << where << ": " << status;
        check(&mem, where);
        ++cases;
        if (!tripped) break;
      }
    }
  }
  return cases;
}

}  // namespace tritter
