#include "inference/http/json_fields.h"

#include <cmath>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/json_depth.h"
#include "common/short_text.h"

namespace tritter {
namespace {

constexpr char kParameterUrl[] = "tritter/parameter", kCodeUrl[] = "tritter/code";

std::string Payload(const absl::Status& status, const char* url) {
  const absl::optional<absl::Cord> cord = status.GetPayload(url);
  return cord.has_value() ? std::string(*cord) : "";
}

std::string TypeOf(const nlohmann::json& value) {
  return value.is_number_float() ? "a number with a fraction or exponent" : value.type_name();
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text) {
  if (const int depth = JsonDepth(text); depth > kMaxJsonDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("the body is nested ", depth, " levels deep, allowed are ", kMaxJsonDepth));
  }
  try {
    nlohmann::json json = nlohmann::json::parse(text.begin(), text.end());
    if (json.is_object()) return json;
    return absl::InvalidArgumentError(
        absl::StrCat("the body is ", json.type_name(), ", a JSON object is needed"));
  } catch (const nlohmann::json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …" without the first word,
    // and without bytes of the client's that are not UTF-8.
    const absl::string_view what = e.what();
    const size_t space = what.find("] ");
    const nlohmann::json clean =
        std::string(space == absl::string_view::npos ? what : what.substr(space + 2));
    return absl::InvalidArgumentError(absl::StrCat(
        "the body is not JSON: ",
        nlohmann::json::parse(clean.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
            .get<std::string>()));
  }
}

std::string DumpJson(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

absl::Status ParameterError(absl::string_view parameter, absl::string_view message,
                            absl::string_view code) {
  const std::string name = ShortText(parameter);
  absl::Status status =
      absl::InvalidArgumentError(absl::StrCat(name, " ", ShortText(message, 1000)));
  status.SetPayload(kParameterUrl, absl::Cord(name));
  if (!code.empty()) status.SetPayload(kCodeUrl, absl::Cord(code));
  return status;
}

std::string ParameterOf(const absl::Status& status) { return Payload(status, kParameterUrl); }
std::string ParameterCodeOf(const absl::Status& status) { return Payload(status, kCodeUrl); }

const nlohmann::json* JsonFields::Find(const std::string& name) {
  known_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::Fail(const std::string& name, absl::string_view message, absl::string_view code) {
  if (status_.ok()) status_ = ParameterError(absl::StrCat(path_, name), message, code);
}

bool JsonFields::Bool(const std::string& name, bool* to) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return false;
  if (!value->is_boolean()) {
    Fail(name, absl::StrCat("is ", TypeOf(*value), ", allowed are true and false"));
    return false;
  }
  *to = value->get<bool>();
  return true;
}

bool JsonFields::Number(const std::string& name, double min, double max, double* to) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return false;
  if (!value->is_number()) {
    Fail(name, absl::StrCat("is ", TypeOf(*value), ", a number is needed"));
    return false;
  }
  const double number = value->get<double>();
  if (!(number >= min && number <= max)) {
    Fail(name, absl::StrCat("is ", number, ", allowed are ", min, " to ", max));
    return false;
  }
  *to = number;
  return true;
}

bool JsonFields::Integer(const std::string& name, int64_t min, int64_t max, int64_t* to) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return false;
  if (!value->is_number_integer()) {
    Fail(name, absl::StrCat("is ", TypeOf(*value), ", a whole number is needed"));
    return false;
  }
  const bool too_large = value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX;
  const int64_t number = too_large ? INT64_MAX : value->get<int64_t>();
  if (too_large || number < min || number > max) {
    Fail(name, absl::StrCat("is ", value->dump(), ", allowed are ", min, " to ", max));
    return false;
  }
  *to = number;
  return true;
}

bool JsonFields::String(const std::string& name, std::string* to) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return false;
  if (!value->is_string()) {
    Fail(name, absl::StrCat("is ", TypeOf(*value), ", a string is needed"));
    return false;
  }
  *to = value->get<std::string>();
  return true;
}

void JsonFields::Ignore(std::initializer_list<const char*> names) {
  known_.insert(names.begin(), names.end());
}

void JsonFields::Unsupported(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const nlohmann::json* value = Find(name);
    if (value != nullptr && !(value->is_structured() && value->empty()))
      Fail(name, "is not supported by this server; leave it out", "unsupported_parameter");
  }
}

absl::Status JsonFields::Finish() {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : object_.items()) {
    if (known_.count(name) == 0) {
      Fail(name, "is not a parameter of this request; check its spelling or leave it out",
           "unknown_parameter");
      break;
    }
  }
  return status_;
}

}  // namespace tritter
