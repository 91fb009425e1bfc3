// tokenizer.json of PyPI's tokenizers, as far as byte-level BPE goes.
#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "model/strict_json.h"
#include "model/text/tokenizer_definition.h"

namespace tritter {
namespace {

using nlohmann::json;

// The pattern that ByteLevel with use_regex stands for, GPT-2's.
constexpr char kByteLevelPattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr size_t kMaxSteps = 16;
constexpr size_t kMaxAddedBytes = 1024;
constexpr size_t kMaxPromptTokens = 16;

std::string Shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) text = absl::StrCat(text.substr(0, 57), "...");
  return text;
}

// A value and the path to it, for messages.
class Node {
 public:
  Node(const json* value, std::string path) : value_(value), path_(std::move(path)) {}
  const json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool null() const { return value_->is_null(); }
  bool Has(const char* key) const {
    const auto found = value_->find(key);
    return found != value_->end() && !found->is_null();
  }
  Node Get(const char* key) const { return {&value_->at(key), absl::StrCat(path_, ".", key)}; }
  Node At(size_t i) const { return {&(*value_)[i], absl::StrCat(path_, "[", i, "]")}; }

  absl::Status Wrong(absl::string_view expected) const {
    return absl::DataLossError(
        absl::StrCat(path_, ": is ", Shown(*value_), ", expected ", expected));
  }
  absl::Status Unsupported(absl::string_view supported) const {
    return absl::UnimplementedError(
        absl::StrCat(path_, ": ", Shown(*value_), " is not supported; supported: ", supported));
  }
  absl::Status ExpectObject() const {
    return value_->is_object() ? absl::OkStatus() : Wrong("an object");
  }
  absl::Status ExpectArray() const {
    return value_->is_array() ? absl::OkStatus() : Wrong("an array");
  }
  // Every key is known: what a key that is not would change cannot be said.
  absl::Status ExpectKeys(std::initializer_list<absl::string_view> known) const {
    RETURN_IF_ERROR(ExpectObject());
    for (const auto& item : value_->items()) {
      if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
      return absl::UnimplementedError(
          absl::StrCat(path_, ": key `", item.key(),
                       "` is not supported; supported: ", absl::StrJoin(known, ", ")));
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Text(const char* key) const {
    if (!Has(key)) return absl::DataLossError(absl::StrCat(path_, ": `", key, "` is missing"));
    const Node node = Get(key);
    if (!node.value().is_string()) return node.Wrong("a text");
    return node.value().get<std::string>();
  }
  absl::StatusOr<bool> Flag(const char* key, bool otherwise) const {
    if (!Has(key)) return otherwise;
    const Node node = Get(key);
    if (!node.value().is_boolean()) return node.Wrong("true or false");
    return node.value().get<bool>();
  }
  absl::StatusOr<int32_t> Id() const {
    if (!value_->is_number_unsigned() || value_->get<uint64_t>() > kMaxTokenId)
      return Wrong(absl::StrCat("an id from 0 to ", kMaxTokenId));
    return value_->get<int32_t>();
  }

 private:
  const json* value_;
  std::string path_;
};

class Reader {
 public:
  absl::Status Root(const Node& root) {
    RETURN_IF_ERROR(
        root.ExpectKeys({"version", "truncation", "padding", "added_tokens", "normalizer",
                         "pre_tokenizer", "post_processor", "decoder", "model"}));
    if (root.Has("version") && root.Get("version").value() != "1.0")
      return root.Get("version").Unsupported("\"1.0\"");
    if (!root.Has("model")) return absl::DataLossError(root.path() + ": `model` is missing");
    RETURN_IF_ERROR(Model(root.Get("model")));
    if (root.Has("added_tokens")) RETURN_IF_ERROR(Added(root.Get("added_tokens")));
    if (root.Has("normalizer")) RETURN_IF_ERROR(Normalizer(root.Get("normalizer")));
    if (!root.Has("pre_tokenizer")) return NoByteLevel(root.path() + ".pre_tokenizer");
    bool byte_level = false;
    RETURN_IF_ERROR(PreTokenizer(root.Get("pre_tokenizer"), &byte_level));
    if (!byte_level) return NoByteLevel(root.path() + ".pre_tokenizer");
    if (!root.Has("decoder")) return NoByteLevel(root.path() + ".decoder");
    RETURN_IF_ERROR(Decoder(root.Get("decoder")));
    if (root.Has("post_processor")) RETURN_IF_ERROR(PostProcessor(root.Get("post_processor")));
    return absl::OkStatus();
  }

  TokenizerDefinition Take() { return std::move(out_); }

 private:
  static absl::Status NoByteLevel(const std::string& path) {
    return absl::UnimplementedError(
        absl::StrCat(path, ": has no ByteLevel; supported is byte-level BPE alone"));
  }

  // --- model ---------------------------------------------------------------------------------

  absl::Status Model(const Node& model) {
    RETURN_IF_ERROR(model.ExpectObject());
    ASSIGN_OR_RETURN(const std::string type, model.Text("type"));
    if (type != "BPE") return model.Get("type").Unsupported("\"BPE\"");
    RETURN_IF_ERROR(model.ExpectKeys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                                      "end_of_word_suffix", "fuse_unk", "byte_fallback",
                                      "ignore_merges", "vocab", "merges"}));
    if (model.Has("dropout") && model.Get("dropout").value() != 0.0)
      return model.Get("dropout").Unsupported("null");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (model.Has(key) && model.Get(key).value() != "") return model.Get(key).Unsupported("null");
    }
    ASSIGN_OR_RETURN(const bool fallback, model.Flag("byte_fallback", false));
    if (fallback) return model.Get("byte_fallback").Unsupported("false");
    ASSIGN_OR_RETURN(out_.fuse_unk, model.Flag("fuse_unk", false));
    ASSIGN_OR_RETURN(out_.ignore_merges, model.Flag("ignore_merges", false));
    RETURN_IF_ERROR(Vocabulary(model));
    if (model.Has("unk_token")) {
      ASSIGN_OR_RETURN(const std::string unk, model.Text("unk_token"));
      const auto id = ids_.find(unk);
      if (id == ids_.end()) return model.Get("unk_token").Wrong("a token of the vocabulary");
      out_.unk = id->second;
    }
    return Merges(model);
  }

  absl::Status Vocabulary(const Node& model) {
    if (!model.Has("vocab")) return absl::DataLossError(model.path() + ": `vocab` is missing");
    const Node vocab = model.Get("vocab");
    RETURN_IF_ERROR(vocab.ExpectObject());
    out_.vocab.reserve(vocab.value().size());
    for (const auto& [token, value] : vocab.value().items()) {
      if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxTokenId) {
        return Node(&value, absl::StrCat(vocab.path(), "[\"", token, "\"]"))
            .Wrong(absl::StrCat("an id from 0 to ", kMaxTokenId));
      }
      out_.vocab.emplace_back(token, value.get<int32_t>());
    }
    std::sort(out_.vocab.begin(), out_.vocab.end(),
              [](const auto& a, const auto& b) { return a.second < b.second; });
    ids_.reserve(out_.vocab.size());
    texts_.reserve(out_.vocab.size());
    for (size_t i = 0; i < out_.vocab.size(); ++i) {
      const auto& [token, id] = out_.vocab[i];
      if (i > 0 && out_.vocab[i - 1].second == id) {
        return absl::DataLossError(absl::StrCat(vocab.path(), ": `", out_.vocab[i - 1].first,
                                                "` and `", token, "` have the same id ", id));
      }
      ids_.emplace(token, id);
      texts_.emplace(id, token);
    }
    return absl::OkStatus();
  }

  absl::Status Merges(const Node& model) {
    if (!model.Has("merges")) return absl::DataLossError(model.path() + ": `merges` is missing");
    const Node merges = model.Get("merges");
    RETURN_IF_ERROR(merges.ExpectArray());
    out_.merges.reserve(merges.value().size());
    std::string together;
    for (size_t i = 0; i < merges.value().size(); ++i) {
      const json& value = merges.value()[i];
      absl::string_view left, right;
      if (value.is_string()) {
        const absl::string_view text = value.get_ref<const std::string&>();
        const size_t space = text.find(' ');
        if (space == absl::string_view::npos || text.find(' ', space + 1) != text.npos)
          return merges.At(i).Wrong("two tokens with a space between");
        left = text.substr(0, space);
        right = text.substr(space + 1);
      } else if (value.is_array() && value.size() == 2 && value[0].is_string() &&
                 value[1].is_string()) {
        left = value[0].get_ref<const std::string&>();
        right = value[1].get_ref<const std::string&>();
      } else {
        return merges.At(i).Wrong("two tokens");
      }
      together.assign(left.data(), left.size());
      together.append(right.data(), right.size());
      const auto l = ids_.find(left), r = ids_.find(right), t = ids_.find(together);
      if (l == ids_.end() || r == ids_.end() || t == ids_.end())
        return merges.At(i).Wrong("two tokens that are in the vocabulary, as is both together");
      out_.merges.push_back({l->second, r->second, t->second});
    }
    return absl::OkStatus();
  }

  // --- added tokens --------------------------------------------------------------------------

  absl::Status Added(const Node& added) {
    RETURN_IF_ERROR(added.ExpectArray());
    absl::flat_hash_set<std::string> contents;
    for (size_t i = 0; i < added.value().size(); ++i) {
      const Node node = added.At(i);
      RETURN_IF_ERROR(node.ExpectKeys(
          {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
      AddedToken token;
      if (!node.Has("id")) return absl::DataLossError(node.path() + ": `id` is missing");
      ASSIGN_OR_RETURN(token.id, node.Get("id").Id());
      ASSIGN_OR_RETURN(token.content, node.Text("content"));
      ASSIGN_OR_RETURN(token.single_word, node.Flag("single_word", false));
      ASSIGN_OR_RETURN(token.lstrip, node.Flag("lstrip", false));
      ASSIGN_OR_RETURN(token.rstrip, node.Flag("rstrip", false));
      ASSIGN_OR_RETURN(token.special, node.Flag("special", false));
      ASSIGN_OR_RETURN(token.normalized, node.Flag("normalized", !token.special));
      if (token.content.empty() || token.content.size() > kMaxAddedBytes)
        return node.Get("content").Wrong(absl::StrCat("1 to ", kMaxAddedBytes, " bytes"));
      const auto known = ids_.find(token.content);
      if (known != ids_.end() && known->second != token.id) {
        return node.Get("id").Wrong(
            absl::StrCat(known->second, ", the id that the text has in the vocabulary"));
      }
      if (!contents.insert(token.content).second)
        return node.Get("content").Wrong("a text that no added token before it has");
      if (const auto [other, made] = texts_.emplace(token.id, token.content);
          !made && other->second != token.content) {
        return node.Get("id").Wrong(
            absl::StrCat("an id of its own; this one is that of `", other->second, "`"));
      }
      out_.added.push_back(std::move(token));
    }
    std::sort(out_.added.begin(), out_.added.end(),
              [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
    return absl::OkStatus();
  }

  // --- the way of a text ---------------------------------------------------------------------

  absl::Status Normalizer(const Node& node) {
    RETURN_IF_ERROR(node.ExpectObject());
    ASSIGN_OR_RETURN(const std::string type, node.Text("type"));
    if (type == "NFC") {
      out_.nfc = true;
      return node.ExpectKeys({"type"});
    }
    if (type != "Sequence") return node.Get("type").Unsupported("null, NFC, Sequence");
    RETURN_IF_ERROR(node.ExpectKeys({"type", "normalizers"}));
    if (!node.Has("normalizers")) return node.Wrong("`normalizers`");
    const Node list = node.Get("normalizers");
    RETURN_IF_ERROR(list.ExpectArray());
    for (size_t i = 0; i < list.value().size(); ++i) {
      const Node inner = list.At(i);
      RETURN_IF_ERROR(inner.ExpectObject());
      ASSIGN_OR_RETURN(const std::string inner_type, inner.Text("type"));
      if (inner_type != "NFC") return inner.Get("type").Unsupported("NFC");
      out_.nfc = true;
    }
    return absl::OkStatus();
  }

  // `byte_level`: whether it has come; nothing may come after.
  absl::Status PreTokenizer(const Node& node, bool* byte_level) {
    RETURN_IF_ERROR(node.ExpectObject());
    ASSIGN_OR_RETURN(const std::string type, node.Text("type"));
    if (*byte_level) {
      return absl::UnimplementedError(
          absl::StrCat(node.path(), ": ", type, " behind ByteLevel is not supported"));
    }
    if (type == "Sequence") {
      RETURN_IF_ERROR(node.ExpectKeys({"type", "pretokenizers"}));
      if (!node.Has("pretokenizers")) return node.Wrong("`pretokenizers`");
      const Node list = node.Get("pretokenizers");
      RETURN_IF_ERROR(list.ExpectArray());
      for (size_t i = 0; i < list.value().size(); ++i)
        RETURN_IF_ERROR(PreTokenizer(list.At(i), byte_level));
      return absl::OkStatus();
    }
    if (out_.steps.size() >= kMaxSteps) return node.Wrong(absl::StrCat("at most ", kMaxSteps));
    if (type == "ByteLevel") return ByteLevel(node, byte_level);
    if (type == "Split") return Split(node);
    if (type == "Digits") {
      RETURN_IF_ERROR(node.ExpectKeys({"type", "individual_digits"}));
      ASSIGN_OR_RETURN(const bool individual, node.Flag("individual_digits", false));
      PreTokenizerStep step;
      step.pattern = individual ? R"(\p{N})" : R"(\p{N}+)";
      out_.steps.push_back(std::move(step));
      return absl::OkStatus();
    }
    return node.Get("type").Unsupported("ByteLevel, Split, Digits, Sequence");
  }

  absl::Status ByteLevel(const Node& node, bool* byte_level) {
    RETURN_IF_ERROR(node.ExpectKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    ASSIGN_OR_RETURN(const bool prefix, node.Flag("add_prefix_space", true));
    ASSIGN_OR_RETURN(const bool regex, node.Flag("use_regex", true));
    if (prefix) {
      PreTokenizerStep step;
      step.kind = PreTokenizerStep::Kind::kPrefixSpace;
      out_.steps.push_back(std::move(step));
    }
    if (regex) {
      PreTokenizerStep step;
      step.pattern = kByteLevelPattern;
      out_.steps.push_back(std::move(step));
    }
    *byte_level = true;
    return absl::OkStatus();
  }

  absl::Status Split(const Node& node) {
    RETURN_IF_ERROR(node.ExpectKeys({"type", "pattern", "behavior", "invert"}));
    PreTokenizerStep step;
    if (!node.Has("pattern")) return node.Wrong("a `pattern`");
    const Node pattern = node.Get("pattern");
    RETURN_IF_ERROR(pattern.ExpectKeys({"Regex", "String"}));
    if (pattern.value().size() != 1) return pattern.Wrong("one of Regex and String");
    step.literal = pattern.Has("String");
    ASSIGN_OR_RETURN(step.pattern, pattern.Text(step.literal ? "String" : "Regex"));
    ASSIGN_OR_RETURN(const std::string behavior, node.Text("behavior"));
    if (behavior == "Isolated") {
      step.behavior = SplitBehavior::kIsolated;
    } else if (behavior == "Removed") {
      step.behavior = SplitBehavior::kRemoved;
    } else if (behavior == "MergedWithPrevious") {
      step.behavior = SplitBehavior::kMergedWithPrevious;
    } else if (behavior == "MergedWithNext") {
      step.behavior = SplitBehavior::kMergedWithNext;
    } else if (behavior == "Contiguous") {
      step.behavior = SplitBehavior::kContiguous;
    } else {
      return node.Get("behavior")
          .Wrong("Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
    }
    ASSIGN_OR_RETURN(step.invert, node.Flag("invert", false));
    out_.steps.push_back(std::move(step));
    return absl::OkStatus();
  }

  absl::Status Decoder(const Node& node) {
    RETURN_IF_ERROR(node.ExpectObject());
    ASSIGN_OR_RETURN(const std::string type, node.Text("type"));
    if (type != "ByteLevel") return node.Get("type").Unsupported("ByteLevel");
    return node.ExpectKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }

  // --- what stands around a prompt -----------------------------------------------------------

  absl::Status PostProcessor(const Node& node) {
    RETURN_IF_ERROR(node.ExpectObject());
    ASSIGN_OR_RETURN(const std::string type, node.Text("type"));
    if (type == "ByteLevel")  // offsets alone
      return node.ExpectKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    if (type == "TemplateProcessing") return Template(node);
    if (type != "Sequence")
      return node.Get("type").Unsupported("null, ByteLevel, TemplateProcessing, Sequence");
    RETURN_IF_ERROR(node.ExpectKeys({"type", "processors"}));
    if (!node.Has("processors")) return node.Wrong("`processors`");
    const Node list = node.Get("processors");
    RETURN_IF_ERROR(list.ExpectArray());
    for (size_t i = 0; i < list.value().size(); ++i) {
      if (list.At(i).value().is_object() && list.At(i).Has("type") &&
          list.At(i).Get("type").value() == "Sequence") {
        return list.At(i).Unsupported("ByteLevel, TemplateProcessing");
      }
      RETURN_IF_ERROR(PostProcessor(list.At(i)));
    }
    return absl::OkStatus();
  }

  absl::Status Template(const Node& node) {
    RETURN_IF_ERROR(node.ExpectKeys({"type", "single", "pair", "special_tokens"}));
    if (!node.Has("single")) return node.Wrong("`single`");
    const Node single = node.Get("single");
    RETURN_IF_ERROR(single.ExpectArray());
    bool text = false;
    std::vector<int32_t> before, behind;
    for (size_t i = 0; i < single.value().size(); ++i) {
      const Node part = single.At(i);
      RETURN_IF_ERROR(part.ExpectKeys({"SpecialToken", "Sequence"}));
      if (part.Has("Sequence")) {
        if (text) return part.Unsupported("one Sequence");
        text = true;
        continue;
      }
      if (!part.Has("SpecialToken")) return part.Wrong("SpecialToken or Sequence");
      RETURN_IF_ERROR(part.Get("SpecialToken").ExpectObject());
      ASSIGN_OR_RETURN(const std::string name, part.Get("SpecialToken").Text("id"));
      RETURN_IF_ERROR(TemplateIds(node, name, text ? &behind : &before));
    }
    if (!text) return single.Wrong("a Sequence, the text itself");
    out_.prefix.insert(out_.prefix.begin(), before.begin(), before.end());
    out_.suffix.insert(out_.suffix.end(), behind.begin(), behind.end());
    if (out_.prefix.size() + out_.suffix.size() > kMaxPromptTokens)
      return single.Unsupported(absl::StrCat("at most ", kMaxPromptTokens, " special tokens"));
    return absl::OkStatus();
  }

  absl::Status TemplateIds(const Node& node, const std::string& name,
                           std::vector<int32_t>* ids) const {
    if (!node.Has("special_tokens")) return node.Wrong("`special_tokens`");
    const Node tokens = node.Get("special_tokens");
    RETURN_IF_ERROR(tokens.ExpectObject());
    if (!tokens.Has(name.c_str()))
      return tokens.Wrong(absl::StrCat("an entry `", name, "`, which `single` names"));
    const Node token = tokens.Get(name.c_str());
    RETURN_IF_ERROR(token.ExpectObject());
    if (!token.Has("ids")) return token.Wrong("`ids`");
    const Node list = token.Get("ids");
    RETURN_IF_ERROR(list.ExpectArray());
    for (size_t i = 0; i < list.value().size(); ++i) {
      ASSIGN_OR_RETURN(const int32_t id, list.At(i).Id());
      if (!texts_.contains(id)) return list.At(i).Wrong("the id of a token");
      ids->push_back(id);
    }
    return absl::OkStatus();
  }

  TokenizerDefinition out_;
  absl::flat_hash_map<std::string, int32_t> ids_;    // of the vocabulary
  absl::flat_hash_map<int32_t, std::string> texts_;  // of it and the added tokens
};

}  // namespace

absl::StatusOr<TokenizerDefinition> ParseTokenizerJson(absl::string_view text,
                                                       absl::string_view where) {
  ASSIGN_OR_RETURN(const json root, ParseStrictJson(text, where));
  Reader reader;
  RETURN_IF_ERROR(reader.Root(Node(&root, absl::StrCat(where, ": $"))));
  return reader.Take();
}

}  // namespace tritter
