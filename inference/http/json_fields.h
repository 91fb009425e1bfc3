// Strict reading of JSON from clients: bounded depth, named errors, no field left unlooked at.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace tritter {

inline constexpr int kMaxJsonDepth = 64;

// The text as one object. Errors: InvalidArgument for what is not JSON (with line and column), not
// an object, nested deeper than kMaxJsonDepth, or not UTF-8. No exception leaves it.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text);
// Bytes that are not UTF-8 become U+FFFD.
std::string DumpJson(const nlohmann::ordered_json& json);

// InvalidArgument about a parameter; `code` is a short word for programs, may be empty.
absl::Status ParameterError(absl::string_view parameter, absl::string_view message,
                            absl::string_view code = "");
// What ParameterError was given; "" of other statuses.
std::string ParameterOf(const absl::Status& status);
std::string ParameterCodeOf(const absl::Status& status);

// Reads the fields of one object. The first thing wrong is kept and told by Finish; a field that is
// missing or null leaves *to as it was. `path` stands before the names in messages.
class JsonFields {
 public:
  explicit JsonFields(const nlohmann::json& object, std::string path = "")
      : object_(object), path_(std::move(path)) {}

  // Null when missing or null.
  const nlohmann::json* Find(const std::string& name);
  bool Bool(const std::string& name, bool* to);  // true when it was there and right
  bool Number(const std::string& name, double min, double max, double* to);
  bool Integer(const std::string& name, int64_t min, int64_t max, int64_t* to);
  bool String(const std::string& name, std::string* to);
  void Ignore(std::initializer_list<const char*> names);
  // Known to the protocol, but not done here: refused when set to something.
  void Unsupported(std::initializer_list<const char*> names);
  void Fail(const std::string& name, absl::string_view message, absl::string_view code = "");
  bool ok() const { return status_.ok(); }
  // The first error; InvalidArgument for a field that nothing above asked for.
  absl::Status Finish();

 private:
  const nlohmann::json& object_;
  const std::string path_;
  std::set<std::string> known_;
  absl::Status status_;
};

}  // namespace tritter
