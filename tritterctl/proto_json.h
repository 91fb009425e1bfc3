// Messages as JSON for -o json and -o yaml. Stable for scripts: every field is there, named as in
// the .proto, numbers are numbers (proto3's own JSON writes 64-bit ones as text), enumerators are
// lower case without their prefix (RUN_STATE_PAUSED → "paused"), and incarnations (64 random bits,
// beyond what JSON readers keep) are 16 hex digits.
#pragma once

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>
#include <string>

namespace tritter {

using OrderedJson = nlohmann::ordered_json;

// A message field that is not set is null.
OrderedJson ProtoToJson(const google::protobuf::Message& message);
// "RUN_STATE_PAUSED" → "paused".
std::string EnumName(const google::protobuf::EnumValueDescriptor& value);

}  // namespace tritter
