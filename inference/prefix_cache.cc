#include "inference/prefix_cache.h"

#include <algorithm>
#include <utility>

namespace tritter {

PrefixCache::~PrefixCache() {
  while (oldest_ != nullptr) Evict();
}

PrefixCache::Name PrefixCache::NameOf(const Block* parent, absl::Span<const int32_t> tokens) {
  Name name{parent == nullptr ? 0 : parent->id, {}};
  std::copy_n(tokens.begin(), kKvPagePositions, name.tokens.begin());
  return name;
}

void PrefixCache::Hold(Block* block) {
  if (block->holders++ == 0) Unlink(block);
}

void PrefixCache::LetGo(Block* block) {
  if (--block->holders > 0) return;
  block->older = newest_;
  block->newer = nullptr;
  (newest_ == nullptr ? oldest_ : newest_->newer) = block;
  newest_ = block;
  ++idle_;
}

void PrefixCache::Unlink(Block* block) {
  (block->older == nullptr ? oldest_ : block->older->newer) = block->newer;
  (block->newer == nullptr ? newest_ : block->newer->older) = block->older;
  --idle_;
}

void PrefixCache::Evict() {
  Block* block = oldest_;
  Unlink(block);
  std::vector<KvPage> page = {block->page};
  pool_->Return(&page);
  blocks_.erase(Name(block->name));  // a copy: the name goes with the block
}

absl::StatusOr<std::optional<int64_t>> PrefixCache::Take(absl::Span<const int32_t> tokens,
                                                         int64_t positions, Table* table) {
  std::vector<Block*> found;
  while (reuse_ && (found.size() + 1) * kKvPagePositions <= tokens.size()) {
    const auto next = blocks_.find(NameOf(found.empty() ? nullptr : found.back(),
                                          tokens.subspan(found.size() * kKvPagePositions)));
    if (next == blocks_.end()) break;
    found.push_back(next->second.get());
  }
  const int64_t known = static_cast<int64_t>(found.size());
  const int64_t needed = KvPagesFor(positions) - known;
  const int64_t waking =
      std::count_if(found.begin(), found.end(), [](const Block* b) { return b->holders == 0; });
  if (needed > pool_->free_pages() + idle_ - waking) return std::nullopt;
  for (Block* block : found) {
    Hold(block);
    table->blocks_.push_back(block);
    table->pages_.push_back(block->page);
  }
  while (pool_->free_pages() < needed) Evict();
  const absl::StatusOr<bool> taken = pool_->Take(needed, &table->pages_);
  if (!taken.ok()) {
    Return(table);
    return taken.status();
  }
  return known * kKvPagePositions;
}

void PrefixCache::Share(absl::Span<const int32_t> tokens, int64_t computed, Table* table) {
  if (!reuse_) return;
  const size_t whole = static_cast<size_t>(computed / kKvPagePositions);
  for (size_t i = table->blocks_.size(); i < whole; ++i) {
    const Name name =
        NameOf(i == 0 ? nullptr : table->blocks_.back(), tokens.subspan(i * kKvPagePositions));
    std::unique_ptr<Block>& block = blocks_[name];
    if (block == nullptr) {
      block = std::make_unique<Block>(Block{next_id_++, name, table->pages_[i], 1});
    } else {
      std::vector<KvPage> page = {std::exchange(table->pages_[i], block->page)};
      pool_->Return(&page);
      Hold(block.get());
    }
    table->blocks_.push_back(block.get());
  }
}

void PrefixCache::Return(Table* table) {
  std::vector<KvPage> own(table->pages_.begin() + static_cast<int64_t>(table->blocks_.size()),
                          table->pages_.end());
  pool_->Return(&own);
  for (size_t i = table->blocks_.size(); i > 0; --i) LetGo(table->blocks_[i - 1]);
  table->blocks_.clear();
  table->pages_.clear();
}

}  // namespace tritter
