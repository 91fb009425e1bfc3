// Bounds on what a request may hold, for every field of every message: a field that is added later
// is bounded too.
#pragma once

#include <google/protobuf/message.h>

#include <cstddef>
#include <map>
#include <string>

#include "absl/status/status.h"

namespace tritter {

struct MessageLimits {
  size_t text = 1024;  // bytes of a string, which is printable: no line breaks, no escapes
  int list = 1000;     // entries of a repeated field
  // Fields by their full name ("tritter.v1.SubmitRunRequest.yaml") with a bound of their own: bytes
  // of a string, which may then hold anything, or entries.
  std::map<std::string, size_t> fields;
};

// InvalidArgument naming the field, what it has and what is taken.
absl::Status CheckMessage(const google::protobuf::Message& message, const MessageLimits& limits);

// Of the services of proto/tritter/v1.
const MessageLimits& RequestLimits();

}  // namespace tritter
