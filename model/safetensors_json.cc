#include "model/safetensors_json.h"

#include <exception>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

using nlohmann::json;

constexpr char kMetadataKey[] = "__metadata__";
constexpr size_t kMaxRank = 64;

// {"<name>": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"<key>":
// "<text>"}}
class HeaderReader {
 public:
  bool null() { return Refuse("null"); }
  bool boolean(bool) { return Refuse("a boolean"); }
  bool number_float(json::number_float_t, const std::string& text) {
    return Refuse(absl::StrCat("the number ", text));
  }
  bool binary(json::binary_t&) { return Refuse("binary data"); }
  bool number_integer(json::number_integer_t value) {
    return Refuse(absl::StrCat("the number ", value));
  }
  bool number_unsigned(json::number_unsigned_t value);
  bool string(std::string& value);
  bool start_object(size_t);
  bool key(std::string& name);
  bool end_object();
  bool start_array(size_t);
  bool end_array();
  bool parse_error(size_t position, const std::string&, const json::exception& error) {
    return Fail(absl::StrCat("at byte ", position, " of the header: ", error.what()));
  }

  RawSafetensorsHeader Take() { return std::move(header_); }
  const std::string& error() const { return error_; }
  bool complete() const { return place_ == Place::kEnd; }

 private:
  enum class Place { kStart, kRoot, kTensorStart, kTensor, kMetadataStart, kMetadata, kEnd };
  enum class Field { kNone, kDtype, kShape, kOffsets };

  bool Fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
    return false;
  }
  bool Refuse(absl::string_view what) {
    return Fail(absl::StrCat(Where(), ": expected ", Expected(), ", got ", what));
  }
  std::string Where() const;
  const char* Expected() const;
  RawSafetensorsEntry& entry() { return header_.entries.back(); }

  RawSafetensorsHeader header_;
  std::set<std::string> names_;
  std::string metadata_key_, error_;
  bool has_metadata_ = false;
  bool in_array_ = false;
  Place place_ = Place::kStart;
  Field field_ = Field::kNone;
};

std::string HeaderReader::Where() const {
  switch (place_) {
    case Place::kTensorStart:
    case Place::kTensor:
      return absl::StrCat("tensor `", header_.entries.back().name, "`");
    case Place::kMetadataStart:
    case Place::kMetadata:
      return absl::StrCat(kMetadataKey, " `", metadata_key_, "`");
    default:
      return "header";
  }
}

const char* HeaderReader::Expected() const {
  switch (place_) {
    case Place::kMetadata:
      return "a string";
    case Place::kTensor:
      break;
    default:
      return "an object";
  }
  switch (field_) {
    case Field::kDtype:
      return "dtype as a string";
    case Field::kShape:
      return in_array_ ? "dimensions from 0 to 2^63 - 1, at most 64" : "shape as a list";
    case Field::kOffsets:
      return in_array_ ? "two offsets from 0" : "data_offsets as a list";
    case Field::kNone:
      break;
  }
  return "a key";
}

bool HeaderReader::number_unsigned(json::number_unsigned_t value) {
  if (in_array_ && field_ == Field::kShape && value <= static_cast<uint64_t>(INT64_MAX) &&
      entry().shape.size() < kMaxRank) {
    entry().shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (in_array_ && field_ == Field::kOffsets && entry().offsets.size() < 2) {
    entry().offsets.push_back(value);
    return true;
  }
  return Refuse(absl::StrCat("the number ", value));
}

bool HeaderReader::string(std::string& value) {
  if (place_ == Place::kMetadata) {
    if (!header_.metadata.emplace(metadata_key_, value).second) {
      return Fail(absl::StrCat(kMetadataKey, ": duplicate key `", metadata_key_, "`"));
    }
    return true;
  }
  if (place_ == Place::kTensor && !in_array_ && field_ == Field::kDtype) {
    entry().dtype = value;
    return true;
  }
  return Refuse("a string");
}

bool HeaderReader::start_object(size_t) {
  switch (place_) {
    case Place::kStart:
      place_ = Place::kRoot;
      return true;
    case Place::kTensorStart:
      place_ = Place::kTensor;
      return true;
    case Place::kMetadataStart:
      place_ = Place::kMetadata;
      return true;
    default:
      return Refuse("an object");
  }
}

bool HeaderReader::key(std::string& name) {
  switch (place_) {
    case Place::kRoot:
      if (name == kMetadataKey) {
        if (std::exchange(has_metadata_, true)) return Fail("duplicate name `__metadata__`");
        place_ = Place::kMetadataStart;
        return true;
      }
      if (!names_.insert(name).second) return Fail(absl::StrCat("duplicate name `", name, "`"));
      header_.entries.emplace_back();
      entry().name = name;
      place_ = Place::kTensorStart;
      return true;
    case Place::kMetadata:
      metadata_key_ = name;
      return true;
    case Place::kTensor: {
      bool* seen = nullptr;
      if (name == "dtype") field_ = Field::kDtype, seen = &entry().has_dtype;
      if (name == "shape") field_ = Field::kShape, seen = &entry().has_shape;
      if (name == "data_offsets") field_ = Field::kOffsets, seen = &entry().has_offsets;
      if (seen == nullptr) return Fail(absl::StrCat(Where(), ": unknown key `", name, "`"));
      if (std::exchange(*seen, true))
        return Fail(absl::StrCat(Where(), ": duplicate key `", name, "`"));
      return true;
    }
    default:
      return Refuse("a key");
  }
}

bool HeaderReader::end_object() {
  if (place_ == Place::kRoot) {
    place_ = Place::kEnd;
    return true;
  }
  if (place_ == Place::kTensor) {
    const RawSafetensorsEntry& e = entry();
    if (!e.has_dtype || !e.has_shape || !e.has_offsets) {
      return Fail(absl::StrCat(Where(), ": `",
                               !e.has_dtype   ? "dtype"
                               : !e.has_shape ? "shape"
                                              : "data_offsets",
                               "` is missing"));
    }
  }
  field_ = Field::kNone;
  place_ = Place::kRoot;
  return true;
}

bool HeaderReader::start_array(size_t) {
  const bool list = field_ == Field::kShape || field_ == Field::kOffsets;
  if (place_ != Place::kTensor || in_array_ || !list) return Refuse("a list");
  in_array_ = true;
  return true;
}

bool HeaderReader::end_array() {
  in_array_ = false;
  if (field_ == Field::kOffsets && entry().offsets.size() != 2) {
    return Fail(absl::StrCat(Where(), ": data_offsets has ", entry().offsets.size(),
                             " numbers, expected 2"));
  }
  return true;
}

}  // namespace

absl::StatusOr<RawSafetensorsHeader> ParseSafetensorsJson(absl::string_view text) {
  HeaderReader reader;
  bool parsed = false;
  std::string thrown;
  try {
    parsed = json::sax_parse(text.begin(), text.end(), &reader);
  } catch (const std::exception& e) {  // no memory, for one
    thrown = e.what();
  }
  if (parsed && reader.complete()) return reader.Take();
  return absl::DataLossError(!reader.error().empty() ? reader.error()
                             : !thrown.empty()       ? thrown
                                               : std::string("the header is not a JSON object"));
}

}  // namespace tritter
