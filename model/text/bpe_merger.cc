#include "model/text/bpe_merger.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <queue>
#include <utility>

#include "model/text/byte_level.h"

namespace tritter {
namespace {

// Up to here looking at all pairs for each merge is faster than a heap.
constexpr size_t kShort = 48;
constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();

uint64_t Pair(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

BpeMerger::BpeMerger(const TokenizerDefinition& definition)
    : ignore_merges_(definition.ignore_merges),
      unk_(definition.unk.value_or(-1)),
      fuse_unk_(definition.fuse_unk) {
  byte_ids_.fill(-1);
  tokens_.reserve(definition.vocab.size());
  for (const auto& [text, id] : definition.vocab) {
    std::optional<std::string> bytes = FromByteLevel(text);
    if (!bytes.has_value() || bytes->empty()) continue;  // no text becomes this token
    if (bytes->size() == 1) byte_ids_[static_cast<uint8_t>((*bytes)[0])] = id;
    longest_ = std::max(longest_, bytes->size());
    tokens_.emplace(*std::move(bytes), id);
  }
  merges_.reserve(definition.merges.size());
  for (size_t rank = 0; rank < definition.merges.size(); ++rank) {
    const BpeMerge& merge = definition.merges[rank];
    merges_[Pair(merge.left, merge.right)] = {static_cast<uint32_t>(rank), merge.merged};
  }
  const size_t ids = definition.vocab.empty() ? 0 : definition.vocab.back().second + 1;
  whole_ = std::make_unique<std::atomic<uint8_t>[]>(ids);
}

const BpeMerger::Merge* BpeMerger::Find(int32_t left, int32_t right) const {
  const auto found = merges_.find(Pair(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BpeMerger::Symbols(absl::string_view piece, std::vector<int32_t>* symbols) const {
  bool unknown = false;  // the byte before had no token
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id >= 0) {
      symbols->push_back(id);
    } else if (unk_ >= 0 && !(unknown && fuse_unk_)) {
      symbols->push_back(unk_);
    }
    unknown = id < 0;
  }
}

void BpeMerger::MergeShort(std::vector<int32_t>* symbols) const {
  std::vector<int32_t>& s = *symbols;
  std::array<uint32_t, kShort> ranks;  // of the merge of i and i + 1
  std::array<int32_t, kShort> merged;
  size_t n = s.size();
  const auto look = [&](size_t i) {
    const Merge* merge = i + 1 < n ? Find(s[i], s[i + 1]) : nullptr;
    ranks[i] = merge == nullptr ? kNoRank : merge->rank;
    if (merge != nullptr) merged[i] = merge->merged;
  };
  for (size_t i = 0; i < n; ++i) look(i);
  while (n > 1) {
    const size_t best = std::min_element(ranks.begin(), ranks.begin() + n) - ranks.begin();
    if (ranks[best] == kNoRank) break;
    s[best] = merged[best];
    std::copy(s.begin() + best + 2, s.begin() + n, s.begin() + best + 1);
    std::copy(ranks.begin() + best + 2, ranks.begin() + n, ranks.begin() + best + 1);
    std::copy(merged.begin() + best + 2, merged.begin() + n, merged.begin() + best + 1);
    --n;
    look(best);
    if (best > 0) look(best - 1);
  }
  s.resize(n);
}

void BpeMerger::MergeLong(std::vector<int32_t>* symbols) const {
  std::vector<int32_t>& s = *symbols;
  const uint32_t n = static_cast<uint32_t>(s.size());
  constexpr int32_t kGone = -1;
  std::vector<uint32_t> next(n), previous(n);  // n: none
  // Rank above position: the smallest is the merge to do. Entries of pairs that have changed since
  // are passed over.
  std::priority_queue<std::pair<uint32_t, uint32_t>, std::vector<std::pair<uint32_t, uint32_t>>,
                      std::greater<>>
      queue;
  const auto offer = [&](uint32_t left) {
    if (next[left] >= n) return;
    if (const Merge* merge = Find(s[left], s[next[left]])) queue.emplace(merge->rank, left);
  };
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i == 0 ? n : i - 1;
  }
  for (uint32_t i = 0; i + 1 < n; ++i) offer(i);
  while (!queue.empty()) {
    const auto [rank, left] = queue.top();
    queue.pop();
    if (s[left] == kGone || next[left] >= n) continue;
    const uint32_t right = next[left];
    const Merge* merge = Find(s[left], s[right]);
    if (merge == nullptr || merge->rank != rank) continue;
    s[left] = merge->merged;
    s[right] = kGone;
    next[left] = next[right];
    if (next[left] < n) previous[next[left]] = left;
    offer(left);
    if (previous[left] < n) offer(previous[left]);
  }
  s.erase(std::remove(s.begin(), s.end(), kGone), s.end());
}

void BpeMerger::Encode(absl::string_view piece, std::vector<int32_t>* ids) const {
  std::atomic<uint8_t>* whole = nullptr;
  int32_t id = -1;
  if (piece.size() <= longest_) {
    if (const auto token = tokens_.find(piece); token != tokens_.end()) {
      id = token->second;
      whole = &whole_[id];
      if (ignore_merges_ || whole->load(std::memory_order_relaxed) == kYes) {
        ids->push_back(id);
        return;
      }
    }
  }
  thread_local std::vector<int32_t> symbols;
  symbols.clear();
  Symbols(piece, &symbols);
  if (symbols.size() <= kShort) {
    MergeShort(&symbols);
  } else {
    MergeLong(&symbols);
    if (symbols.capacity() > (size_t{1} << 16)) {  // one huge piece leaves no huge buffer behind
      ids->insert(ids->end(), symbols.begin(), symbols.end());
      std::vector<int32_t>().swap(symbols);
      return;
    }
  }
  if (whole != nullptr) {
    const bool yes = symbols.size() == 1 && symbols[0] == id;
    whole->store(yes ? kYes : kNo, std::memory_order_relaxed);
  }
  ids->insert(ids->end(), symbols.begin(), symbols.end());
}

}  // namespace tritter
