// Prefix reuse: pages of the KV cache whose 16 positions are complete can be found again by the
// tokens of those positions and of all before them, and are shared by every request that begins
// with these tokens. A row's keys and values depend on its sequence's tokens alone
// (docs/numerics.md), so that a text is the same with and without.
//
// The blocks form a tree: a block is named by its parent and its own 16 tokens, both compared
// whole, so that equal hashes never stand for equal tokens. A page is never written once it is
// shared: only whole pages are, and a request continues on a page of its own.
//
// Where attention has a window, a request lets go of the pages behind it as it advances, and is
// promised as many as it may hold at a time. What it lets go of can be found by others, until it is
// given up; behind a block that is given up nothing is found.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "inference/kv_pages.h"
#include "kernels/kv_cache.h"

namespace tritter {

using KvPage = uint8_t*;  // what the pool gives; nothing here looks inside

// Owned by the engine; used by its scheduler thread alone. All pages of the pool are taken and
// given back through it.
class PrefixCache {
  struct Block;

 public:
  // The page table of one request.
  class Table {
   public:
    const std::vector<KvPage>& pages() const { return pages_; }

   private:
    friend class PrefixCache;
    // The first belong to blocks_, the others to this request alone; null behind the window.
    std::vector<KvPage> pages_;
    std::vector<Block*> blocks_;  // held; null behind the window
    uint64_t last_block_ = 0;     // Block::id of the last of them, held or not
    int64_t promised_ = 0;        // pages
  };

  // Without `reuse` nothing is kept or found.
  PrefixCache(KvPagePool* pool, bool reuse, KvWindow window = {})
      : pool_(pool), reuse_(reuse), window_(window) {}
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // Fills the empty `table` with pages for `positions`, the first of them holding the longest known
  // beginning of `tokens`: the number of positions that need not be computed, a multiple of 16.
  // Under a window these are there alone, as far as they are seen; the others come by Advance.
  // What nobody uses is given up for new pages, longest unused first. Nothing, and nothing done,
  // when there is no room now. ResourceExhausted, and nothing taken, as KvPagePool::Take.
  absl::StatusOr<std::optional<int64_t>> Take(absl::Span<const int32_t> tokens, int64_t positions,
                                              Table* table);
  // Before positions [from, to) of those given to Take are computed in a step: lets go of pages
  // that none of them sees, and has pages for all of them. There is room for what Take was given.
  // ResourceExhausted as KvPagePool::Take.
  absl::Status Advance(int64_t from, int64_t to, Table* table);
  // Makes the first `computed` positions, which hold `tokens`, known. A page that is known already
  // is exchanged for the known one, which holds the same.
  void Share(absl::Span<const int32_t> tokens, int64_t computed, Table* table);
  void Return(Table* table);  // empties it

  int64_t idle_pages() const { return idle_; }  // known, and used by nobody
  int64_t used_pages() const { return pool_->used_pages() - idle_; }

 private:
  using Tokens = std::array<int32_t, kKvPagePositions>;
  struct Name {
    uint64_t parent;  // Block::id, 0 at the beginning of a text
    Tokens tokens;
    bool operator==(const Name& other) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Name& name) {
      return H::combine(std::move(h), name.parent, name.tokens);
    }
  };
  struct Block {
    uint64_t id;
    Name name;
    KvPage page;
    int64_t holders;
    Block *older = nullptr, *newer = nullptr;  // while nobody holds it
  };
  static Name NameOf(uint64_t parent, absl::Span<const int32_t> tokens);
  void GiveBack(size_t page, Table* table);
  void Hold(Block* block);
  void LetGo(Block* block);
  void Unlink(Block* block);
  void Evict();

  KvPagePool* const pool_;
  const bool reuse_;
  const KvWindow window_;
  int64_t promised_ = 0;  // to all tables, under a window: never more than the pool has
  absl::flat_hash_map<Name, std::unique_ptr<Block>> blocks_;
  uint64_t next_id_ = 1;
  // Blocks that nobody holds, longest unused first. Without a window, who holds a block holds its
  // parents and lets go of them after it: a block stands before its parents here.
  Block* oldest_ = nullptr;
  Block* newest_ = nullptr;
  int64_t idle_ = 0;
};

}  // namespace tritter
