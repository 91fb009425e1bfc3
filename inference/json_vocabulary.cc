#include "inference/json_vocabulary.h"

#include <algorithm>

#include "model/utf8.h"

namespace tritter {
namespace {

// Characters of a token that is plain; -1 of another.
int64_t PlainLength(absl::string_view bytes) {
  int64_t characters = 0;
  for (; !bytes.empty(); ++characters) {
    const uint8_t first = static_cast<uint8_t>(bytes[0]);
    if (first < 0x20 || first == '"' || first == '\\') return -1;
    const Utf8Prefix prefix = ScanUtf8(bytes);
    if (prefix.kind != Utf8Kind::kWhole) return -1;
    bytes.remove_prefix(prefix.length);
  }
  return characters;
}

}  // namespace

JsonVocabulary::JsonVocabulary(const Tokenizer& tokenizer, int64_t vocabulary)
    : bytes_(static_cast<size_t>(vocabulary)), plain_mask_(vocabulary) {
  std::vector<int32_t> plain, rest;
  const int64_t known = std::min<int64_t>(vocabulary, tokenizer.vocabulary());
  for (int32_t id = 0; id < known; ++id) {
    std::string& bytes = bytes_[static_cast<size_t>(id)] = tokenizer.TokenBytes(id);
    if (bytes.empty()) continue;
    const int64_t length = PlainLength(bytes);
    if (length < 0) {
      rest.push_back(id);
      continue;
    }
    plain.push_back(id);
    plain_mask_.Add(id);
    plain_by_length_.emplace_back(length, id);
  }
  std::sort(plain_by_length_.begin(), plain_by_length_.end());
  plain_ = MakeTree(std::move(plain));
  rest_ = MakeTree(std::move(rest));
}

JsonVocabulary::Tree JsonVocabulary::MakeTree(std::vector<int32_t> ids) const {
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return bytes(a) < bytes(b); });
  Tree tree;
  std::vector<int32_t> path;  // nodes of the word before
  for (const int32_t id : ids) {
    const std::string& word = bytes(id);
    size_t shared = 0;
    while (shared < path.size() && shared < word.size() &&
           tree[static_cast<size_t>(path[shared])].byte == static_cast<uint8_t>(word[shared]))
      ++shared;
    for (; path.size() > shared; path.pop_back())
      tree[static_cast<size_t>(path.back())].end = static_cast<int32_t>(tree.size());
    for (; path.size() < word.size();) {
      const auto depth = static_cast<int32_t>(path.size());
      path.push_back(static_cast<int32_t>(tree.size()));
      tree.push_back({static_cast<uint8_t>(word[static_cast<size_t>(depth)]), depth, 0, {}});
    }
    tree[static_cast<size_t>(path.back())].ids.push_back(id);
  }
  for (const int32_t node : path)
    tree[static_cast<size_t>(node)].end = static_cast<int32_t>(tree.size());
  return tree;
}

void JsonVocabulary::Walk(const Tree& tree, const JsonAutomaton& automaton, const JsonState& state,
                          TokenMask* mask) {
  std::vector<JsonState> levels = {state};  // behind each byte on the way to a node
  for (size_t i = 0; i < tree.size();) {
    const Node& node = tree[i];
    const size_t depth = static_cast<size_t>(node.depth);
    if (levels.size() < depth + 2) levels.emplace_back();
    if (!automaton.Step(levels[depth], node.byte, &levels[depth + 1])) {
      i = static_cast<size_t>(node.end);
      continue;
    }
    for (const int32_t id : node.ids) mask->Add(id);
    ++i;
  }
}

void JsonVocabulary::AddAllowed(const JsonAutomaton& automaton, const JsonState& state,
                                TokenMask* mask) const {
  int64_t plain = -1;
  JsonState others{{}, state.whitespace};
  for (const JsonStack& stack : state.stacks) {
    const int64_t characters = automaton.PlainCharacters(stack);
    if (characters < 0) others.stacks.push_back(stack);
    plain = std::max(plain, characters);
  }
  if (!plain_by_length_.empty() && plain >= plain_by_length_.back().first) {
    mask->Add(plain_mask_);
  } else {
    for (const auto& [length, id] : plain_by_length_) {
      if (length > plain) break;
      mask->Add(id);
    }
  }
  if (!others.stacks.empty()) Walk(plain_, automaton, others, mask);
  Walk(rest_, automaton, state, mask);
}

}  // namespace tritter
