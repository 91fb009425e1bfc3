#include "common/yaml.h"

#include <algorithm>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/nearest_word.h"
#include "common/short_text.h"
#include "common/status_macros.h"
#include "common/yaml_scalar.h"
#include "common/yaml_tree.h"

namespace tritter {
namespace yaml_internal {

struct State {
  std::string file;
  Tree tree;
};

// A mapping of the document, or the place where an absent one would be.
struct NodeRef {
  State* state;
  Node* node;  // kMap; null when absent
  std::string path;
  Position position;  // of the mapping, or of the nearest one around it that is there

  void Report(Position at, absl::string_view key, std::string message) const {
    // Without a key the problem is the mapping's own.
    AddProblem(&state->tree.problems, at, key.empty() ? path : ChildPath(path, key),
               std::move(message));
  }

  // Marks the key as known. Null when it is absent or already reported as broken.
  const Node* Ask(absl::string_view key) const {
    if (node == nullptr) return nullptr;
    node->asked.insert(std::string(key));
    const Node::Entry* entry = node->Find(key);
    if (entry == nullptr || entry->value->kind == Node::Kind::kBroken) return nullptr;
    return entry->value.get();
  }

  void WrongType(const Node& value, absl::string_view key, absl::string_view expected) const {
    const absl::string_view hint =
        value.kind == Node::Kind::kNull ? "; give a value or remove the key" : absl::string_view();
    Report(value.position, key,
           absl::StrCat("expected ", expected, ", got ", Describe(value), hint));
  }

  template <typename T>
  bool InRange(const Node& value, absl::string_view key, T v, T min, T max) const {
    if (v >= min && v <= max) return true;
    // Whole numbers have no infinity: theirs is 0, which is a limit like others.
    const bool lower =
        min > std::numeric_limits<T>::lowest() &&
        !(std::numeric_limits<T>::has_infinity && min == -std::numeric_limits<T>::infinity());
    const bool upper = max < std::numeric_limits<T>::max();
    const std::string range = lower && upper ? absl::StrCat("between ", min, " and ", max)
                              : lower        ? absl::StrCat("at least ", min)
                                             : absl::StrCat("at most ", max);
    Report(value.position, key, absl::StrCat("must be ", range, ", got ", ShortText(value.text)));
    return false;
  }
};

inline absl::string_view QuoteHint(const Node& value) {
  return value.quoted ? " (remove the quotes)" : "";
}

}  // namespace yaml_internal

using yaml_internal::ChildPath;
using yaml_internal::Describe;
using yaml_internal::Node;
using yaml_internal::NodeRef;
using yaml_internal::Problem;
using yaml_internal::QuoteHint;

bool YamlMap::present() const { return ref_->node != nullptr; }

bool YamlMap::Has(absl::string_view key) const {
  return present() && ref_->node->Find(key) != nullptr;
}

bool YamlMap::IsList(absl::string_view key) const {
  const auto* entry = present() ? ref_->node->Find(key) : nullptr;
  return entry != nullptr && entry->value->kind == Node::Kind::kSequence;
}

std::vector<std::string> YamlMap::Keys() const {
  std::vector<std::string> keys;
  if (present()) {
    for (const Node::Entry& e : ref_->node->entries) keys.push_back(e.key);
  }
  return keys;
}

std::string YamlMap::Path() const { return ref_->path; }
std::string YamlMap::Where() const {
  return yaml_internal::Where(ref_->state->file, ref_->position);
}

bool YamlMap::Get(absl::string_view key, std::string* out) {
  const Node* value = ref_->Ask(key);
  if (value == nullptr) return false;
  if (!IsString(*value)) {
    const std::string hint =
        value->kind == Node::Kind::kScalar ? absl::StrCat("; write \"", value->text, "\"") : "";
    ref_->WrongType(*value, key, "a string");
    if (!hint.empty()) absl::StrAppend(&ref_->state->tree.problems.back().message, hint);
    return false;
  }
  *out = value->text;
  return true;
}

bool YamlMap::Get(absl::string_view key, bool* out) {
  const Node* value = ref_->Ask(key);
  if (value == nullptr) return false;
  if (value->kind == Node::Kind::kScalar && !value->quoted &&
      yaml_internal::ParseBool(value->text, out)) {
    return true;
  }
  ref_->WrongType(*value, key, "true or false");
  return false;
}

bool YamlMap::Get(absl::string_view key, int64_t* out, int64_t min, int64_t max) {
  const Node* value = ref_->Ask(key);
  if (value == nullptr) return false;
  int64_t v;
  if (value->kind == Node::Kind::kScalar && !value->quoted &&
      yaml_internal::ParseInt(value->text, &v)) {
    if (!ref_->InRange(*value, key, v, min, max)) return false;
    *out = v;
    return true;
  }
  if (value->kind == Node::Kind::kScalar && !value->quoted &&
      yaml_internal::LooksLikeInt(value->text)) {
    ref_->Report(value->position, key,
                 absl::StrCat(ShortText(value->text), " does not fit a 64-bit integer"));
  } else {
    ref_->WrongType(*value, key, "an integer");
    absl::StrAppend(&ref_->state->tree.problems.back().message, QuoteHint(*value));
  }
  return false;
}

bool YamlMap::Get(absl::string_view key, int* out, int min, int max) {
  int64_t v;
  if (!Get(key, &v, int64_t{min}, int64_t{max})) return false;
  *out = static_cast<int>(v);
  return true;
}

bool YamlMap::Get(absl::string_view key, double* out, double min, double max) {
  const Node* value = ref_->Ask(key);
  if (value == nullptr) return false;
  double v;
  if (value->kind != Node::Kind::kScalar || value->quoted ||
      !yaml_internal::ParseNumber(value->text, &v)) {
    ref_->WrongType(*value, key, "a number");
    absl::StrAppend(&ref_->state->tree.problems.back().message, QuoteHint(*value));
    return false;
  }
  if (!ref_->InRange(*value, key, v, min, max)) return false;
  *out = v;
  return true;
}

bool YamlMap::Get(absl::string_view key, std::vector<std::string>* out) {
  const Node* value = ref_->Ask(key);
  if (value == nullptr) return false;
  if (value->kind != Node::Kind::kSequence) {
    ref_->WrongType(*value, key, "a list of strings, for example [a, b]");
    return false;
  }
  std::vector<std::string> strings;
  bool all = true;
  for (size_t i = 0; i < value->items.size(); ++i) {
    const Node& item = *value->items[i];
    if (IsString(item)) {
      strings.push_back(item.text);
      continue;
    }
    all = false;
    if (item.kind != Node::Kind::kBroken) {
      ref_->WrongType(item, absl::StrCat(key, "[", i, "]"), "a string");
    }
  }
  if (all) *out = std::move(strings);
  return all;
}

bool YamlMap::GetChoice(absl::string_view key, absl::Span<const absl::string_view> choices,
                        std::string* out) {
  std::string word;
  if (!Get(key, &word)) return false;
  const std::vector<std::string> words(choices.begin(), choices.end());
  if (std::find(words.begin(), words.end(), word) != words.end()) {
    *out = word;
    return true;
  }
  std::string message =
      absl::StrCat("must be one of ", absl::StrJoin(words, ", "), ", got \"", word, "\"");
  const bool gpu = word == "gpu" && std::find(words.begin(), words.end(), "cuda") != words.end();
  const std::string nearest = gpu ? "cuda" : NearestWord(word, words);  // not `cpu`
  if (!nearest.empty()) absl::StrAppend(&message, " (did you mean `", nearest, "`?)");
  Error(key, message);
  return false;
}

bool YamlMap::GetCountOrPercent(absl::string_view key, int64_t* value,
                                std::optional<double>* fraction, absl::string_view word,
                                bool* is_word) {
  const Node* node = ref_->Ask(key);
  if (node == nullptr) return false;
  absl::string_view text = node->text;
  int64_t count;
  double percent;
  if (node->kind == Node::Kind::kScalar && !node->quoted) {
    if (!word.empty() && text == word) {
      *is_word = true;
      return true;
    }
    if (yaml_internal::ParseInt(text, &count)) {
      if (!ref_->InRange(*node, key, count, int64_t{0}, std::numeric_limits<int64_t>::max())) {
        return false;
      }
      *value = count;
      return true;
    }
    if (absl::ConsumeSuffix(&text, "%") && yaml_internal::ParseNumber(text, &percent)) {
      if (percent < 0 || percent > 100) {
        Error(key, absl::StrCat("must be between 0% and 100%, got ", node->text));
        return false;
      }
      *fraction = percent / 100;
      return true;
    }
  }
  ref_->WrongType(*node, key,
                  absl::StrCat("an integer or a percentage like 20%",
                               word.empty() ? "" : absl::StrCat(", or the word ", word)));
  return false;
}

YamlMap YamlMap::Map(absl::string_view key) {
  NodeRef child{ref_->state, nullptr, ChildPath(ref_->path, key), ref_->position};
  const Node* value = ref_->Ask(key);
  if (value != nullptr && value->kind == Node::Kind::kMap) {
    child.node = const_cast<Node*>(value);
    child.node->visited = true;
    child.position = value->position;
  } else if (value != nullptr) {
    ref_->WrongType(*value, key, "a mapping");
  }
  return YamlMap(std::make_shared<const NodeRef>(std::move(child)));
}

std::vector<YamlMap> YamlMap::MapList(absl::string_view key, size_t at_most) {
  std::vector<YamlMap> maps;
  const Node* value = ref_->Ask(key);
  if (value == nullptr) return maps;
  if (value->kind != Node::Kind::kSequence) {
    ref_->WrongType(*value, key, "a list of mappings");
    return maps;
  }
  if (value->items.size() > at_most) {
    Error(key, absl::StrCat("has ", value->items.size(), " items, expected at most ", at_most));
  }
  for (size_t i = 0; i < std::min(at_most, value->items.size()); ++i) {
    Node* item = value->items[i].get();
    const std::string name = absl::StrCat(key, "[", i, "]");
    if (item->kind == Node::Kind::kMap) {
      item->visited = true;
      maps.push_back(YamlMap(std::make_shared<const NodeRef>(
          NodeRef{ref_->state, item, ChildPath(ref_->path, name), item->position})));
    } else if (item->kind != Node::Kind::kBroken) {
      ref_->WrongType(*item, name, "a mapping");
    }
  }
  return maps;
}

void YamlMap::Require(absl::string_view key) {
  if (present()) ref_->node->asked.insert(std::string(key));
  if (!Has(key)) ref_->Report(ref_->position, key, "required key is missing");
}

void YamlMap::Skip(absl::string_view key) {
  if (present()) ref_->node->asked.insert(std::string(key));
}

void YamlMap::Error(absl::string_view key, absl::string_view message) {
  const Node::Entry* entry = present() && !key.empty() ? ref_->node->Find(key) : nullptr;
  ref_->Report(entry != nullptr ? entry->value->position : ref_->position, key,
               ShortText(message, 1000));
}

absl::StatusOr<YamlDocument> YamlDocument::Parse(absl::string_view text,
                                                 absl::string_view file_name) {
  ASSIGN_OR_RETURN(yaml_internal::Tree tree, yaml_internal::ParseTree(text, file_name));
  auto state = std::make_shared<yaml_internal::State>();
  state->file = std::string(file_name);
  state->tree = std::move(tree);
  return YamlDocument(std::move(state));
}

YamlMap YamlDocument::Root() {
  Node* root = state_->tree.root.get();
  root->visited = true;
  return YamlMap(std::make_shared<const NodeRef>(NodeRef{state_.get(), root, "", root->position}));
}

namespace {

static_assert(kMaxYamlBytes == yaml_internal::kMaxBytes);

constexpr size_t kMaxProblems = 100;  // more help nobody

void FindUnknownKeys(const Node& node, const std::string& path, std::vector<Problem>* problems) {
  if (node.visited) {
    const std::vector<std::string> known(node.asked.begin(), node.asked.end());
    for (const Node::Entry& e : node.entries) {
      if (node.asked.count(e.key) || problems->size() > kMaxProblems) continue;
      std::string message = "unknown key";
      const std::string nearest = NearestWord(e.key, known);
      if (!nearest.empty()) absl::StrAppend(&message, " (did you mean `", nearest, "`?)");
      problems->push_back({e.key_position, ChildPath(path, e.key), std::move(message)});
    }
  }
  for (const Node::Entry& e : node.entries) {
    FindUnknownKeys(*e.value, ChildPath(path, e.key), problems);
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    FindUnknownKeys(*node.items[i], absl::StrCat(path, "[", i, "]"), problems);
  }
}

}  // namespace

absl::Status YamlDocument::Finish() {
  std::vector<Problem> problems;
  FindUnknownKeys(*state_->tree.root, "", &problems);
  problems.insert(problems.begin(), state_->tree.problems.begin(), state_->tree.problems.end());
  if (problems.empty()) return absl::OkStatus();
  std::multimap<std::pair<int, int>, const Problem*> in_file_order;
  for (const Problem& p : problems) {
    in_file_order.emplace(std::pair(p.position.line, p.position.column), &p);
  }
  std::vector<std::string> lines;
  for (const auto& [position, p] : in_file_order) {
    if (lines.size() == kMaxProblems) {
      lines.push_back(absl::StrCat(state_->file, ": further errors are not shown"));
      break;
    }
    lines.push_back(absl::StrCat(yaml_internal::Where(state_->file, p->position), ": ", p->path,
                                 p->path.empty() ? "" : ": ", p->message));
  }
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

}  // namespace tritter
