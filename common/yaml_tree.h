// The tree behind common/yaml.h: YAML text as nodes with positions, built from yaml-cpp's events.
// Anchors, aliases, merge keys and tags are refused: a configuration says what it means in place,
// and no text expands to more than itself.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter::yaml_internal {

inline constexpr size_t kMaxBytes = 1 << 20;
inline constexpr int kMaxDepth = 64;

struct Position {
  int line = 1, column = 1;  // from 1
};

struct Node {
  // kBroken: already reported (an alias, for example); readers skip it in silence.
  enum class Kind { kNull, kScalar, kSequence, kMap, kBroken };
  struct Entry {
    std::string key;
    Position key_position;
    std::unique_ptr<Node> value;
  };

  Kind kind = Kind::kNull;
  Position position;
  bool quoted = false;                            // kScalar
  std::string text;                               // kScalar
  std::vector<std::unique_ptr<Node>> items;       // kSequence
  std::vector<Entry> entries;                     // kMap, in file order, keys unique
  std::unordered_map<std::string, size_t> index;  // of entries by key

  // What the readers of this mapping asked for: decides which keys are unknown.
  bool visited = false;
  std::set<std::string> asked;

  void AddEntry(Entry entry);
  const Entry* Find(absl::string_view key) const;  // null when absent
};

struct Problem {
  Position position;
  std::string path, message;
};

struct Tree {
  std::unique_ptr<Node> root;
  std::vector<Problem>
      problems;  // duplicate keys, aliases and the like: the tree stands without them
};

// Errors: InvalidArgument with `file:line:column: message`: larger than kMaxBytes, deeper than
// kMaxDepth, a syntax error, an empty text, more than one document, a root that is not a mapping.
absl::StatusOr<Tree> ParseTree(absl::string_view text, absl::string_view file_name);

// Adds a problem. Of a text that is wrong everywhere only so many are kept as help somebody: the
// newest takes the place of the one before it.
void AddProblem(std::vector<Problem>* problems, Position position, std::string path,
                std::string message);

// `a.b` from `a` and `b`, of which a long one is cut: a path is kept with every problem below it.
std::string ChildPath(absl::string_view parent, absl::string_view key);
std::string Where(absl::string_view file, Position position);

}  // namespace tritter::yaml_internal
