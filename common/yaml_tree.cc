#include "common/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/short_text.h"

namespace tritter::yaml_internal {
namespace {

Position At(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

// Thrown by the handler through yaml-cpp's parser, and caught in ParseTree: it never gets out.
struct Fatal {
  Position position;
  std::string message;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(Tree* tree) : tree_(tree) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(Make(Node::Kind::kNull, mark, "", anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    auto node = std::make_unique<Node>();
    node->kind = Node::Kind::kBroken;
    node->position = At(mark);
    // Add last: the path of a problem ends in the key that waits for this value.
    Report(node->position, "aliases (*name) are not supported; write the value out");
    Add(std::move(node));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    std::unique_ptr<Node> node = Make(Node::Kind::kScalar, mark, tag, anchor);
    node->quoted = tag == "!";
    node->text = value;
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Make(Node::Kind::kSequence, mark, tag, anchor));
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(Make(Node::Kind::kMap, mark, tag, anchor));
  }
  void OnMapEnd() override { Close(); }

 private:
  // A collection whose end has not come yet.
  struct Frame {
    std::unique_ptr<Node> node;
    std::string path;
    bool have_key = false;
    std::string key;
    Position key_position;
    bool drop = false;  // the value of a key that was refused
  };

  // Where the next node belongs.
  std::string PathHere() const {
    if (stack_.empty()) return "";
    const Frame& f = stack_.back();
    if (f.node->kind == Node::Kind::kSequence) {
      return absl::StrCat(f.path, "[", f.node->items.size(), "]");
    }
    return f.have_key ? ChildPath(f.path, f.key) : f.path;
  }

  void Report(Position position, std::string message) {
    AddProblem(&tree_->problems, position, PathHere(), std::move(message));
  }

  std::unique_ptr<Node> Make(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
                             YAML::anchor_t anchor) {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->position = At(mark);
    if (anchor != 0) Report(node->position, "anchors (&name) are not supported; remove it");
    if (!tag.empty() && tag != "?" && tag != "!") {
      Report(node->position,
             absl::StrCat("tags are not supported, got ", ShortText(tag), "; remove it"));
      node->kind = kind == Node::Kind::kScalar ? Node::Kind::kBroken : kind;
    }
    return node;
  }

  void Open(std::unique_ptr<Node> node) {
    if (static_cast<int>(stack_.size()) >= kMaxDepth) {
      throw Fatal{node->position, absl::StrCat("nested deeper than ", kMaxDepth, " levels")};
    }
    Frame frame;
    frame.path = PathHere();
    frame.node = std::move(node);
    stack_.push_back(std::move(frame));
  }

  void Close() {
    std::unique_ptr<Node> node = std::move(stack_.back().node);
    stack_.pop_back();
    Add(std::move(node));
  }

  void Add(std::unique_ptr<Node> node) {
    if (stack_.empty()) {
      tree_->root = std::move(node);
      return;
    }
    Frame& f = stack_.back();
    if (f.node->kind == Node::Kind::kSequence) {
      f.node->items.push_back(std::move(node));
    } else if (!f.have_key) {
      TakeKey(&f, *node);
    } else {
      // Nothing was written: the key is the place to look at.
      if (node->kind == Node::Kind::kNull) node->position = f.key_position;
      if (!f.drop) f.node->AddEntry({f.key, f.key_position, std::move(node)});
      f.have_key = false;
    }
  }

  void TakeKey(Frame* f, const Node& node) {
    const bool scalar = node.kind == Node::Kind::kScalar;
    f->have_key = true;
    f->drop = true;
    f->key = scalar ? node.text : "?";
    f->key_position = node.position;
    if (!scalar) {
      if (node.kind != Node::Kind::kBroken) {
        Report(node.position, "a key must be a word or a quoted string");
      }
    } else if (node.text == "<<" && !node.quoted) {
      Report(node.position, "merge keys (<<) are not supported; write the values out");
    } else if (const Node::Entry* first = f->node->Find(node.text)) {
      Report(node.position,
             absl::StrCat("duplicate key (first given in line ", first->key_position.line, ")"));
    } else {
      f->drop = false;
    }
  }

  Tree* const tree_;
  std::vector<Frame> stack_;
};

absl::Status ErrorAt(absl::string_view file, Position position, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(Where(file, position), ": ", message));
}

}  // namespace

const Node::Entry* Node::Find(absl::string_view key) const {
  const auto it = index.find(std::string(key));
  return it == index.end() ? nullptr : &entries[it->second];
}

void Node::AddEntry(Entry entry) {
  index.emplace(entry.key, entries.size());
  entries.push_back(std::move(entry));
}

void AddProblem(std::vector<Problem>* problems, Position position, std::string path,
                std::string message) {
  constexpr size_t kKept = 1000;
  if (problems->size() >= kKept) problems->pop_back();
  problems->push_back({position, std::move(path), ShortText(message, 2000)});
}

std::string ChildPath(absl::string_view parent, absl::string_view key) {
  const std::string child = ShortText(key, 100);
  if (parent.empty() || key.empty()) return absl::StrCat(parent, child);
  return absl::StrCat(parent, ".", child);
}

std::string Where(absl::string_view file, Position position) {
  return absl::StrCat(file, ":", position.line, ":", position.column);
}

absl::StatusOr<Tree> ParseTree(absl::string_view text, absl::string_view file_name) {
  if (text.size() > kMaxBytes) {
    return ErrorAt(
        file_name, {},
        absl::StrCat("too large: ", text.size(), " bytes, at most ", kMaxBytes, " are read"));
  }
  Tree tree;
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    TreeBuilder builder(&tree);
    if (!parser.HandleNextDocument(builder) || tree.root == nullptr) {
      return ErrorAt(file_name, {}, "empty: expected a mapping");
    }
    Tree further;
    TreeBuilder ignored(&further);
    if (parser.HandleNextDocument(ignored)) {
      const Position at = further.root ? further.root->position : Position{};
      return ErrorAt(file_name, at, "a second document starts here; expected one (remove the ---)");
    }
  } catch (const Fatal& e) {
    return ErrorAt(file_name, e.position, e.message);
  } catch (const YAML::Exception& e) {
    return ErrorAt(file_name, e.mark.is_null() ? Position{} : At(e.mark),
                   absl::StrCat("not valid YAML: ", e.msg));
  } catch (const std::exception& e) {
    return ErrorAt(file_name, {}, absl::StrCat("not readable as YAML: ", e.what()));
  }
  const Node& root = *tree.root;
  if (root.kind == Node::Kind::kNull) {
    return ErrorAt(file_name, root.position, "empty: expected a mapping");
  }
  if (root.kind != Node::Kind::kMap) {
    return ErrorAt(file_name, root.position, "expected a mapping (key: value) at the top");
  }
  return tree;
}

}  // namespace tritter::yaml_internal
