#include "model/checkpoint_manifest.h"

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;

// Reads the keys of one JSON object strictly: each must be there with its type, and no other.
class ObjectReader {
 public:
  ObjectReader(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) Fail("", "expected an object");
  }

  void Read(const char* key, std::string* out) {
    if (const json* v = Find(key, "a string", [](const json& j) { return j.is_string(); })) {
      *out = v->get_ref<const std::string&>();
    }
  }
  // Whole numbers from 0.
  template <typename Integer>
  void Read(const char* key, Integer* out) {
    const json* v =
        Find(key, "a whole number from 0", [](const json& j) { return j.is_number_unsigned(); });
    if (v == nullptr) return;
    const uint64_t value = v->get<uint64_t>();
    if (value > static_cast<uint64_t>(std::numeric_limits<Integer>::max())) {
      Fail(key, absl::StrCat(value, " is too large"));
      return;
    }
    *out = static_cast<Integer>(value);
  }
  const json* List(const char* key) {
    return Find(key, "a list", [](const json& j) { return j.is_array(); });
  }
  void Fail(absl::string_view key, absl::string_view message) {
    if (status_.ok()) {
      status_ = absl::DataLossError(
          absl::StrCat(where_, key.empty() ? "" : absl::StrCat(": `", key, "`"), ": ", message));
    }
  }
  absl::Status Finish() {
    if (status_.ok()) {
      for (const auto& item : object_.items()) {
        if (known_.count(item.key()) == 0) Fail(item.key(), "unknown key");
      }
    }
    return status_;
  }

 private:
  template <typename Check>
  const json* Find(const char* key, const char* expected, Check check) {
    known_.insert(key);
    if (!status_.ok()) return nullptr;
    const auto found = object_.find(key);
    if (found == object_.end()) {
      Fail(key, "is missing");
      return nullptr;
    }
    if (check(*found)) return &*found;
    Fail(key, absl::StrCat("expected ", expected, ", got ", found->type_name()));
    return nullptr;
  }

  const json& object_;
  const std::string where_;
  std::set<std::string> known_;
  absl::Status status_;
};

bool IsSha256(absl::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

absl::Status CheckFiles(const std::vector<ManifestFile>& files, absl::string_view path) {
  const std::string* previous = nullptr;
  for (const ManifestFile& file : files) {
    const auto bad = [&](absl::string_view message) {
      return absl::DataLossError(absl::StrCat(path, ": file `", file.name, "`: ", message));
    };
    // A name must not lead out of the folder.
    if (file.name.empty() || file.name[0] == '.' || file.name.find('/') != std::string::npos ||
        file.name.find('\0') != std::string::npos) {
      return bad("expected a plain file name");
    }
    if (!IsSha256(file.sha256)) return bad("sha256 is not 64 lower-case hexadecimal digits");
    if (previous != nullptr && *previous >= file.name)
      return bad("files are not sorted by name, or are listed twice");
    previous = &file.name;
  }
  return absl::OkStatus();
}

}  // namespace

std::string ManifestToJson(const CheckpointManifest& m) {
  nlohmann::ordered_json root;
  root["format"] = m.format;
  root["run_id"] = m.run_id;
  root["step"] = m.step;
  root["epoch"] = m.epoch;
  root["attempt"] = m.attempt;
  root["spec_hash"] = m.spec_hash;
  root["spec_yaml"] = m.spec_yaml;
  root["code_version"] = m.code_version;
  root["next_slot"] = m.next_slot;
  std::vector<ManifestFile> files = m.files;
  std::sort(files.begin(), files.end(),
            [](const ManifestFile& a, const ManifestFile& b) { return a.name < b.name; });
  root["files"] = nlohmann::ordered_json::array();
  for (const ManifestFile& file : files) {
    nlohmann::ordered_json item;
    item["name"] = file.name;
    item["bytes"] = file.bytes;
    item["sha256"] = file.sha256;
    root["files"].push_back(std::move(item));
  }
  return root.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

absl::StatusOr<CheckpointManifest> ManifestFromJson(absl::string_view text,
                                                    absl::string_view path) {
  json root;
  try {
    root = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  } catch (const std::exception& e) {  // no memory, for one
    return absl::DataLossError(absl::StrCat(path, ": ", e.what()));
  }
  if (root.is_discarded())
    return absl::DataLossError(absl::StrCat(path, ": not JSON (truncated or damaged)"));
  CheckpointManifest m;
  ObjectReader reader(root, std::string(path));
  reader.Read("format", &m.format);
  if (m.format != kFormat)
    reader.Fail("format", absl::StrCat("is ", m.format, ", expected ", kFormat));
  reader.Read("run_id", &m.run_id);
  reader.Read("step", &m.step);
  reader.Read("epoch", &m.epoch);
  reader.Read("attempt", &m.attempt);
  reader.Read("spec_hash", &m.spec_hash);
  reader.Read("spec_yaml", &m.spec_yaml);
  reader.Read("code_version", &m.code_version);
  reader.Read("next_slot", &m.next_slot);
  if (const json* files = reader.List("files")) {
    for (const json& item : *files) {
      ManifestFile file;
      ObjectReader file_reader(item, absl::StrCat(path, ": files[", m.files.size(), "]"));
      file_reader.Read("name", &file.name);
      file_reader.Read("bytes", &file.bytes);
      file_reader.Read("sha256", &file.sha256);
      RETURN_IF_ERROR(file_reader.Finish());
      m.files.push_back(std::move(file));
    }
  }
  RETURN_IF_ERROR(reader.Finish());
  RETURN_IF_ERROR(CheckFiles(m.files, path));
  return m;
}

}  // namespace tritter
