// The canonical form of a tokenizer: docs/formats/tokenizer.md.
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "common/sha256.h"
#include "model/text/tokenizer_definition.h"

namespace tritter {
namespace {

using nlohmann::json;

const char* NameOf(SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return "Isolated";
    case SplitBehavior::kRemoved:
      return "Removed";
    case SplitBehavior::kMergedWithPrevious:
      return "MergedWithPrevious";
    case SplitBehavior::kMergedWithNext:
      return "MergedWithNext";
    case SplitBehavior::kContiguous:
      return "Contiguous";
  }
  return "";
}

// A text in JSON, as dump() writes it, without making a value of each of 100 000 tokens.
void AppendQuoted(const std::string& text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    static constexpr absl::string_view kEscaped = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
    if (const size_t known = kEscaped.find(c); known != absl::string_view::npos) {
      out->append({'\\', kLetters[known]});
    } else if (static_cast<uint8_t>(c) < 0x20) {
      absl::StrAppendFormat(out, "\\u%04x", c);
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

// One line of compact JSON; keys are in the order of their bytes.
class Lines {
 public:
  void Add(const json& value) { Add(value.dump()); }
  void Add(const std::string& line) {
    hasher_.Update(line);
    hasher_.Update("\n");
  }
  void AddWhole(const std::string& text) { hasher_.Update(text); }
  std::string Finish() { return Hex(hasher_.Finish()); }

 private:
  Sha256Hasher hasher_;
};

}  // namespace

std::string TokenizerDefinitionHash(const TokenizerDefinition& d) {
  Lines lines;
  lines.Add(std::string("tritter byte-level BPE 1"));
  lines.Add(json{{"fuse_unk", d.fuse_unk},
                 {"ignore_merges", d.ignore_merges},
                 {"normalizer", d.nfc ? json("NFC") : json(nullptr)},
                 {"prefix", d.prefix},
                 {"suffix", d.suffix},
                 {"unk", d.unk.has_value() ? json(*d.unk) : json(nullptr)}});
  for (const PreTokenizerStep& step : d.steps) {
    if (step.kind == PreTokenizerStep::Kind::kPrefixSpace) {
      lines.Add(json{{"step", "prefix_space"}});
    } else {
      lines.Add(json{{"step", "split"},
                     {"behavior", NameOf(step.behavior)},
                     {"invert", step.invert},
                     {"literal", step.literal},
                     {"pattern", step.pattern}});
    }
  }
  for (const AddedToken& t : d.added) {
    lines.Add(json{{"added", t.content},
                   {"id", t.id},
                   {"lstrip", t.lstrip},
                   {"normalized", t.normalized},
                   {"rstrip", t.rstrip},
                   {"single_word", t.single_word},
                   {"special", t.special}});
  }
  std::string many;
  for (const auto& [token, id] : d.vocab) {
    many += '[';
    AppendQuoted(token, &many);
    absl::StrAppend(&many, ",", id, "]\n");
  }
  for (const BpeMerge& m : d.merges) absl::StrAppend(&many, "[", m.left, ",", m.right, "]\n");
  lines.AddWhole(many);
  return lines.Finish();
}

}  // namespace tritter
