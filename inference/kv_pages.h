// Memory of the KV cache in pages of 16 positions. A page holds those positions for all layers and
// KV heads, so that a sequence needs one page table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/kv_cache.h"
#include "model/config.h"

namespace tritter {

// Where the keys and values of one (layer, KV head) lie inside a page, in bytes (layout:
// kernels/kv_cache.h).
struct KvPageLayout {
  KvPageLayout(const ModelConfig& config, KvFormat format);
  int64_t Offset(int64_t layer, int64_t kv_head) const {
    return (layer * kv_heads + kv_head) * head_bytes;
  }

  KvFormat format;
  int64_t kv_heads;
  int64_t head_bytes;
  int64_t page_bytes;
};
int64_t KvPagesFor(int64_t positions);  // rounded up

// Owned by the engine; used by its scheduler thread alone. Pages are made on first use and kept.
class KvPagePool {
 public:
  // Zeroed, aligned to 64 bytes, for std::free; null when there is no memory.
  using Allocate = void* (*)(size_t bytes);
  static void* FromSystem(size_t bytes);

  KvPagePool(int64_t page_bytes, int64_t max_pages, Allocate allocate = &FromSystem)
      : page_bytes_(page_bytes), max_pages_(max_pages), allocate_(allocate) {}
  KvPagePool(const KvPagePool&) = delete;
  KvPagePool& operator=(const KvPagePool&) = delete;

  int64_t max_pages() const { return max_pages_; }
  int64_t free_pages() const { return max_pages_ - used_; }
  int64_t used_pages() const { return used_; }
  // Appends `count` pages to `table`; false (and nothing done) when that many are not free.
  // ResourceExhausted, and nothing done, when the system has no memory for a page.
  absl::StatusOr<bool> Take(int64_t count, std::vector<uint8_t*>* table);
  void Return(std::vector<uint8_t*>* table);  // empties it

 private:
  struct FreeMemory {
    void operator()(uint8_t* p) const;
  };
  const int64_t page_bytes_, max_pages_;
  const Allocate allocate_;
  int64_t used_ = 0;
  std::vector<std::unique_ptr<uint8_t, FreeMemory>> memory_;
  std::vector<uint8_t*> free_;
};

}  // namespace tritter
