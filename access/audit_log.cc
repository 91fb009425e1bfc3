#include "access/audit_log.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/log.h"
#include "common/short_text.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::string_view kPrefix = "audit-", kEnding = ".jsonl";
constexpr size_t kMaxField = 1000;  // bytes

std::string NameOf(int64_t first_id) {
  return absl::StrFormat("%s%020d%s", kPrefix, first_id, kEnding);
}

std::optional<int64_t> FirstIdOf(absl::string_view name) {
  int64_t id = 0;
  if (!absl::ConsumePrefix(&name, kPrefix) || !absl::ConsumeSuffix(&name, kEnding) ||
      !absl::SimpleAtoi(name, &id))
    return std::nullopt;
  return id;
}

std::string Line(const Json& json) {
  return absl::StrCat(json.dump(-1, ' ', false, Json::error_handler_t::replace), "\n");
}

std::string TextIn(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

int64_t NumberIn(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
}

// The records of a file join those that are there, by id: results may stand in another file.
void ReadLines(absl::string_view text, std::map<int64_t, AuditRecord>* records) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const int64_t id = json.is_object() ? NumberIn(json, "id") : 0;
    if (id <= 0) continue;
    AuditRecord& record = (*records)[id];
    record.id = id;
    if (json.contains("result")) {
      record.result = TextIn(json, "result");
      if (const std::string run = TextIn(json, "run"); !run.empty()) record.run = run;
      continue;
    }
    record.time_ms = NumberIn(json, "time_ms");
    record.caller = TextIn(json, "caller");
    record.peer = TextIn(json, "peer");
    record.call = TextIn(json, "call");
    if (record.run.empty()) record.run = TextIn(json, "run");
  }
}

}  // namespace

absl::StatusOr<std::vector<std::string>> AuditLog::Files() const {
  ASSIGN_OR_RETURN(std::vector<std::string> names, env_->ListDir(options_.folder));
  std::erase_if(names, [](const std::string& name) { return !FirstIdOf(name).has_value(); });
  return names;  // sorted: the numbers have leading zeros
}

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(Env* env, Clock* clock,
                                                         AuditOptions options) {
  auto log = absl::WrapUnique(new AuditLog(env, clock, std::move(options)));
  RETURN_IF_ERROR(env->CreateDirs(log->options_.folder));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, log->Files());
  MutexLock lock(&log->mu_);
  if (!names.empty()) {
    ASSIGN_OR_RETURN(const std::string text,
                     env->ReadFile(JoinPath(log->options_.folder, names.back())));
    std::map<int64_t, AuditRecord> records;
    ReadLines(text, &records);
    log->next_id_ = *FirstIdOf(names.back()) + 1;  // also when its only line was cut
    if (!records.empty()) log->next_id_ = std::max(log->next_id_, records.rbegin()->first + 1);
  }
  return log;
}

void AuditLog::DropOldestLocked() {
  const absl::StatusOr<std::vector<std::string>> names = Files();
  if (!names.ok() || names->size() <= options_.max_files) return;
  for (size_t i = 0; i < names->size() - options_.max_files; ++i) {
    const std::string path = JoinPath(options_.folder, (*names)[i]);
    if (absl::Status s = env_->RemoveFile(path); !s.ok())
      LogWarning("audit_file_not_removed", {{"file", path}, {"error", std::string(s.message())}});
  }
}

absl::Status AuditLog::OpenFileLocked(int64_t first_id) {
  ASSIGN_OR_RETURN(file_, env_->NewWritableFile(JoinPath(options_.folder, NameOf(first_id))));
  file_bytes_ = 0;
  absl::Status synced = env_->SyncDir(options_.folder);
  if (!synced.ok()) file_.reset();
  DropOldestLocked();
  return synced;
}

absl::Status AuditLog::AppendLocked(const std::string& line, int64_t id) {
  if (file_ == nullptr || file_bytes_ >= options_.max_file_bytes)
    RETURN_IF_ERROR(OpenFileLocked(id));
  absl::Status status = file_->Append(line);
  if (status.ok()) status = file_->Sync();
  file_bytes_ += line.size();
  if (!status.ok()) file_.reset();  // its last line may be cut: the next begins another file
  return status;
}

absl::StatusOr<int64_t> AuditLog::Begin(const AuditRecord& record) {
  MutexLock lock(&mu_);
  const int64_t id = next_id_++;
  Json json;
  json["id"] = id;
  json["time_ms"] = absl::ToUnixMillis(clock_->Now());
  json["caller"] = ShortText(record.caller, kMaxField);
  json["peer"] = ShortText(record.peer, kMaxField);
  json["call"] = ShortText(record.call, kMaxField);
  if (!record.run.empty()) json["run"] = ShortText(record.run, kMaxField);
  RETURN_IF_ERROR(AppendLocked(Line(json), id));
  return id;
}

absl::Status AuditLog::End(int64_t id, const std::string& result, const std::string& run) {
  MutexLock lock(&mu_);
  Json json;
  json["id"] = id;
  json["result"] = ShortText(result, kMaxField);
  if (!run.empty()) json["run"] = ShortText(run, kMaxField);
  // A file that is begun with a result is named after the next record.
  return AppendLocked(Line(json), next_id_);
}

absl::StatusOr<std::vector<AuditRecord>> AuditLog::Read(const AuditQuery& query) {
  std::vector<std::string> names;
  {
    MutexLock lock(&mu_);
    ASSIGN_OR_RETURN(names, Files());
  }
  const bool newest = query.after_id <= 0;
  const auto wanted = [&](const AuditRecord& r) {
    return r.time_ms != 0 && r.id > query.after_id &&
           (query.runs.empty() || std::count(query.runs.begin(), query.runs.end(), r.run) > 0);
  };
  if (newest) std::reverse(names.begin(), names.end());
  std::map<int64_t, AuditRecord> records;
  bool enough = false;
  for (size_t i = 0; i < names.size() && !enough; ++i) {
    // Only what comes later is asked for, and the next file begins before that.
    if (!newest && i + 1 < names.size() && *FirstIdOf(names[i + 1]) <= query.after_id) continue;
    // The results of the last records of a file may stand in the next.
    enough = !newest && std::count_if(records.begin(), records.end(), [&](const auto& r) {
                          return wanted(r.second);
                        }) >= query.limit;
    const absl::StatusOr<std::string> text = env_->ReadFile(JoinPath(options_.folder, names[i]));
    if (absl::IsNotFound(text.status())) continue;  // dropped meanwhile
    RETURN_IF_ERROR(text.status());
    ReadLines(*text, &records);
    if (newest) {
      enough = std::count_if(records.begin(), records.end(),
                             [&](const auto& r) { return wanted(r.second); }) >= query.limit;
    }
  }
  std::vector<AuditRecord> out;
  for (auto& [id, record] : records) {
    if (wanted(record)) out.push_back(std::move(record));
  }
  const size_t limit = static_cast<size_t>(std::max<int64_t>(0, query.limit));
  if (out.size() > limit && newest) out.erase(out.begin(), out.end() - static_cast<int64_t>(limit));
  if (out.size() > limit) out.resize(limit);
  return out;
}

}  // namespace tritter
