// Memory of the KV cache in pages of 16 positions. A page holds those positions for all layers and
// KV heads, so that a sequence needs one page table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"

namespace tritter {

// Where the keys and values of one (layer, KV head) lie inside a page, in floats (layout:
// kernels/float_ops.h).
struct KvPageLayout {
  explicit KvPageLayout(const ModelConfig& config);
  int64_t Offset(int64_t layer, int64_t kv_head) const {
    return (layer * kv_heads + kv_head) * head_floats;
  }
  int64_t page_bytes() const { return page_floats * static_cast<int64_t>(sizeof(float)); }

  int64_t kv_heads;
  int64_t head_floats;
  int64_t page_floats;
};
int64_t KvPagesFor(int64_t positions);  // rounded up

// Owned by the engine; used by its scheduler thread alone. Pages are made on first use and kept.
class KvPagePool {
 public:
  // Zeroed, aligned to 64 bytes, for std::free; null when there is no memory.
  using Allocate = void* (*)(size_t bytes);
  static void* FromSystem(size_t bytes);

  KvPagePool(int64_t page_floats, int64_t max_pages, Allocate allocate = &FromSystem)
      : page_floats_(page_floats), max_pages_(max_pages), allocate_(allocate) {}
  KvPagePool(const KvPagePool&) = delete;
  KvPagePool& operator=(const KvPagePool&) = delete;

  int64_t max_pages() const { return max_pages_; }
  int64_t free_pages() const { return max_pages_ - used_; }
  int64_t used_pages() const { return used_; }
  // Appends `count` pages to `table`; false (and nothing done) when that many are not free.
  // ResourceExhausted, and nothing done, when the system has no memory for a page.
  absl::StatusOr<bool> Take(int64_t count, std::vector<float*>* table);
  void Return(std::vector<float*>* table);  // empties it

 private:
  struct FreeMemory {
    void operator()(float* p) const;
  };
  const int64_t page_floats_, max_pages_;
  const Allocate allocate_;
  int64_t used_ = 0;
  std::vector<std::unique_ptr<float, FreeMemory>> memory_;
  std::vector<float*> free_;
};

}  // namespace tritter
