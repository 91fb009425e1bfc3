// Memory of the KV cache in pages of 16 positions. A page holds those positions for all layers and
// KV heads, so that a sequence needs one page table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <utility>
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

// Which pages a sequence keeps, when at most `chunk` of its positions are computed in a step: those
// of the sinks, and from the one on where the window of the next position begins. Without a window
// all of them.
class KvWindow {
 public:
  KvWindow() = default;
  KvWindow(const ModelConfig& config, int64_t chunk);

  bool limited() const { return window_ > 0; }
  int64_t sink_pages() const { return sink_pages_; }
  // The first page behind those of the sinks that `position`, or one after it, sees.
  int64_t FirstPage(int64_t position) const;
  // The most that a sequence of so many positions holds at a time.
  int64_t MostPages(int64_t positions) const;

 private:
  int64_t window_ = 0, sink_pages_ = 0, most_ = 0;
};

// Where pages lie: in this machine's memory, or a device's.
struct KvMemory {
  // Zeroed, aligned to 64 bytes, for std::free; null when there is no memory.
  static void* FromSystem(size_t bytes);

  std::function<void*(size_t bytes)> allocate = &FromSystem;
  std::function<void(void*)> free = &std::free;
};

// Owned by the engine; used by its scheduler thread alone. Pages are made on first use and kept.
class KvPagePool {
 public:
  KvPagePool(int64_t page_bytes, int64_t max_pages, KvMemory memory = {})
      : page_bytes_(page_bytes), max_pages_(max_pages), memory_(std::move(memory)) {}
  ~KvPagePool();
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
  const int64_t page_bytes_, max_pages_;
  const KvMemory memory_;
  int64_t used_ = 0;
  std::vector<uint8_t*> made_, free_;
};

}  // namespace tritter
