// What text a JSON schema allows, as a grammar. The subset of JSON Schema and how it is read:
// docs/reference/constrained_output.md.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

inline constexpr size_t kMaxJsonSchemaBytes = 256 << 10;
inline constexpr int kMaxJsonSchemaDepth = 400;  // of its text: a schema is several levels of it

// One kind of value. Other nodes are named by their place in JsonGrammar::nodes.
struct JsonNode {
  enum class Kind { kObject, kArray, kString, kNumber, kInteger, kLiterals, kAnyOf };
  struct Property {
    std::string key;  // as it is written, with its quotes
    int32_t value;
    bool required;
  };
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kUnbounded = std::numeric_limits<int32_t>::max();

  Kind kind;
  // kObject: in the order in which they are written. `other`: value of keys that are not named
  // here. `names`: sorted, what such a key may not be.
  std::vector<Property> properties = {};
  int32_t other = kNone;
  std::vector<std::string> names = {};
  int32_t items = kNone;                   // kArray
  int32_t min = 0, max = kUnbounded;       // items of an array, characters of a string
  std::vector<std::string> literals = {};  // kLiterals: sorted, as they are written
  std::vector<int32_t> alternatives = {};  // kAnyOf: none of them a kAnyOf
  // An object or array of any content, which an any-of leaves out when it is nested very deeply.
  bool any = false;
  std::string path = {};  // of the schema, for messages
};

// Every node can be written to its end in finitely many bytes.
struct JsonGrammar {
  std::vector<JsonNode> nodes;
  int32_t root = 0;
};

// InvalidArgument for more than kMaxJsonSchemaBytes.
absl::Status CheckJsonSchemaSize(absl::string_view schema);

// InvalidArgument naming the path inside the schema (as in "#/properties/age/minimum") of what is
// not supported, not well-formed, or can never be satisfied.
absl::StatusOr<JsonGrammar> CompileJsonSchema(absl::string_view schema);
JsonGrammar AnyJsonObject();

}  // namespace tritter
