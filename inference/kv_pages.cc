#include "inference/kv_pages.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace tritter {

KvPageLayout::KvPageLayout(const ModelConfig& config, KvFormat format)
    : format(format),
      kv_heads(config.kv_heads),
      head_bytes(KvPageBytes(format, config.head_dim)),
      page_bytes(config.layers * config.kv_heads * head_bytes) {}

int64_t KvPagesFor(int64_t positions) {
  return (positions + kKvPagePositions - 1) / kKvPagePositions;
}

KvWindow::KvWindow(const ModelConfig& config, int64_t chunk)
    : window_(config.window),
      sink_pages_(KvPagesFor(config.sinks)),
      // Positions of the window and the chunk, wherever in a page the first of them is.
      most_(sink_pages_ + KvPagesFor(window_ - 1 + chunk + kKvPagePositions - 1)) {}

int64_t KvWindow::FirstPage(int64_t position) const {
  if (!limited()) return 0;
  return std::max(sink_pages_, (position - window_ + 1) / kKvPagePositions);
}

int64_t KvWindow::MostPages(int64_t positions) const {
  return limited() ? std::min(KvPagesFor(positions), most_) : KvPagesFor(positions);
}

KvPagePool::~KvPagePool() {
  for (uint8_t* page : made_) memory_.free(page);
}

void* KvMemory::FromSystem(size_t bytes) {
  void* page = std::aligned_alloc(64, bytes);
  if (page != nullptr) std::memset(page, 0, bytes);
  return page;
}

absl::StatusOr<bool> KvPagePool::Take(int64_t count, std::vector<uint8_t*>* table) {
  if (count > free_pages()) return false;
  const size_t bytes = (static_cast<size_t>(page_bytes_) + 63) / 64 * 64;
  while (static_cast<int64_t>(free_.size()) < count) {
    void* page = memory_.allocate(bytes);
    if (page == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("KV cache: the system gave no memory for a page of ", bytes, " bytes, ",
                       made_.size(), " of at most ", max_pages_,
                       " pages are there; start the server with a smaller "
                       "--max-kv-memory, or free some memory"));
    }
    made_.push_back(static_cast<uint8_t*>(page));
    free_.push_back(static_cast<uint8_t*>(page));
  }
  table->insert(table->end(), free_.end() - count, free_.end());
  free_.resize(free_.size() - static_cast<size_t>(count));
  used_ += count;
  return true;
}

void KvPagePool::Return(std::vector<uint8_t*>* table) {
  used_ -= static_cast<int64_t>(table->size());
  free_.insert(free_.end(), table->begin(), table->end());
  table->clear();
}

}  // namespace tritter
