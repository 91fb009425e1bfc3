// Memory of a step's tensors. A step asks for the same sizes again and again, in an order that
// leaves the C library's heap full of holes: it grew to half as much again as was in use, and by an
// amount that nobody could foretell. Blocks that are given out again only for their own size leave
// none.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "common/mutex.h"

namespace tritter {

// Any thread.
class BlockPool {
 public:
  BlockPool() = default;
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // Whole pages, aligned so; the content is undefined. nullptr when the system has no more.
  void* Take(int64_t bytes);
  // A block that Take gave; null does nothing.
  void GiveBack(void* block);

  // Returns to the system the blocks that nobody took since the last call: of sizes that are not
  // asked for any more.
  void DropUnused();
  // Returns every block that is not taken.
  void DropFree();

  int64_t held_bytes() const;  // taken or not

 private:
  struct FreeBlock {
    void* at;
    bool recent;  // given back since the last DropUnused
  };
  void Unmap(void* block, int64_t bytes) REQUIRES(mu_);

  mutable Mutex mu_;
  std::map<int64_t, std::vector<FreeBlock>> free_ GUARDED_BY(mu_);  // by size, the newest last
  std::unordered_map<void*, int64_t> taken_ GUARDED_BY(mu_);
  int64_t held_ GUARDED_BY(mu_) = 0;
};

}  // namespace tritter
