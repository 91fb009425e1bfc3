// The canonical form of a tokenizer: docs/formats/tokenizer.md.
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "model/tokenizer_definition.h"

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

// One line of compact JSON; keys are in the order of their bytes.
class Lines {
 public:
  void Add(const json& value) { Add(value.dump()); }
  void Add(const std::string& line) {
    hasher_.Update(line);
    hasher_.Update("\n");
  }
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
  for (const auto& [token, id] : d.vocab)
    lines.Add(absl::StrCat("[", json(token).dump(), ",", id, "]"));
  for (const BpeMerge& m : d.merges) lines.Add(absl::StrCat("[", m.left, ",", m.right, "]"));
  return lines.Finish();
}

}  // namespace tritter
