#include "inference/prefix_cache.h"

#include <algorithm>
#include <utility>

namespace tritter {

PrefixCache::~PrefixCache() {
  while (oldest_ != nullptr) Evict();
}

PrefixCache::Name PrefixCache::NameOf(uint64_t parent, absl::Span<const int32_t> tokens) {
  Name name{parent, {}};
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
  uint64_t last = 0;
  while (reuse_ && (found.size() + 1) * kKvPagePositions <= tokens.size()) {
    const auto next = blocks_.find(NameOf(last, tokens.subspan(found.size() * kKvPagePositions)));
    if (next == blocks_.end()) break;
    found.push_back(next->second.get());
    last = found.back()->id;
  }
  const int64_t known = static_cast<int64_t>(found.size());
  if (window_.limited()) {
    // Whoever holds less than it was promised finds a page: all hold less than there are.
    const int64_t most = window_.MostPages(positions);
    if (promised_ + most > pool_->max_pages()) return std::nullopt;
    table->promised_ = most;
    promised_ += most;
  } else {
    const int64_t waking =
        std::count_if(found.begin(), found.end(), [](const Block* b) { return b->holders == 0; });
    if (KvPagesFor(positions) - known > pool_->free_pages() + idle_ - waking) return std::nullopt;
  }
  for (Block* block : found) {
    Hold(block);
    table->blocks_.push_back(block);
    table->pages_.push_back(block->page);
  }
  table->last_block_ = last;
  const int64_t computed = known * kKvPagePositions;
  const absl::Status taken = Advance(computed, window_.limited() ? computed : positions, table);
  if (!taken.ok()) {
    Return(table);
    return taken;
  }
  return computed;
}

absl::Status PrefixCache::Advance(int64_t from, int64_t to, Table* table) {
  const size_t sinks = static_cast<size_t>(window_.sink_pages()),
               held = static_cast<size_t>(window_.FirstPage(from));
  // The last first: without its parents a block is not found. Those before were given back.
  for (size_t i = std::min(held, table->pages_.size()); i > sinks; --i) {
    if (table->pages_[i - 1] == nullptr) break;
    GiveBack(i - 1, table);
  }
  const int64_t needed = KvPagesFor(to) - static_cast<int64_t>(table->pages_.size());
  if (needed <= 0) return absl::OkStatus();
  while (pool_->free_pages() < needed) Evict();
  return pool_->Take(needed, &table->pages_).status();
}

void PrefixCache::Share(absl::Span<const int32_t> tokens, int64_t computed, Table* table) {
  if (!reuse_) return;
  const size_t whole = static_cast<size_t>(computed / kKvPagePositions);
  for (size_t i = table->blocks_.size(); i < whole; ++i) {
    const Name name = NameOf(table->last_block_, tokens.subspan(i * kKvPagePositions));
    std::unique_ptr<Block>& block = blocks_[name];
    if (block == nullptr) {
      block = std::make_unique<Block>(Block{next_id_++, name, table->pages_[i], 1});
    } else {
      std::vector<KvPage> page = {std::exchange(table->pages_[i], block->page)};
      pool_->Return(&page);
      Hold(block.get());
    }
    table->blocks_.push_back(block.get());
    table->last_block_ = block->id;
  }
}

void PrefixCache::GiveBack(size_t page, Table* table) {
  KvPage& given = table->pages_[page];
  if (page < table->blocks_.size()) {
    LetGo(std::exchange(table->blocks_[page], nullptr));
  } else {
    std::vector<KvPage> own = {given};
    pool_->Return(&own);
  }
  given = nullptr;
}

void PrefixCache::Return(Table* table) {
  for (size_t i = table->pages_.size(); i > 0; --i) {
    if (table->pages_[i - 1] != nullptr) GiveBack(i - 1, table);
  }
  promised_ -= table->promised_;
  *table = Table();
}

}  // namespace tritter
