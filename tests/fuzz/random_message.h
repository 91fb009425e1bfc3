// Protobuf messages with random and hostile fields, by reflection: fields that are added later are
// filled too.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <vector>

#include "common/random.h"

namespace tritter {

// Values that get past the first checks: by the field's name ("run_id", "epoch"), as text; numbers
// are read from it.
using KnownValues = std::map<std::string, std::vector<std::string>>;

// Fills every field of `message` or leaves it alone, by chance: with what is known of its name,
// with what is at the edge of its type, with texts that mean something elsewhere (paths, YAML,
// control characters, long ones), with random bits.
void FillHostile(google::protobuf::Message* message, const KnownValues& known, Philox* random);
// Changes a few fields of a message that may be good.
void SpoilMessage(google::protobuf::Message* message, const KnownValues& known, Philox* random);

}  // namespace tritter
