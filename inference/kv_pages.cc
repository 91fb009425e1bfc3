#include "inference/kv_pages.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/float_ops.h"

namespace tritter {

KvPageLayout::KvPageLayout(const ModelConfig& config)
    : kv_heads(config.kv_heads),
      head_floats(KvPageFloats(config.head_dim)),
      page_floats(config.layers * config.kv_heads * head_floats) {}

int64_t KvPagesFor(int64_t positions) {
  return (positions + kKvPagePositions - 1) / kKvPagePositions;
}

void KvPagePool::FreeMemory::operator()(float* p) const { std::free(p); }

bool KvPagePool::Take(int64_t count, std::vector<float*>* table) {
  if (count > free_pages()) return false;
  for (int64_t i = 0; i < count; ++i) {
    if (free_.empty()) {
      const size_t bytes = (static_cast<size_t>(page_floats_) * sizeof(float) + 63) / 64 * 64;
      void* page = std::aligned_alloc(64, bytes);
      if (page == nullptr) throw std::bad_alloc();
      std::memset(page, 0, bytes);
      memory_.emplace_back(static_cast<float*>(page));
      free_.push_back(static_cast<float*>(page));
    }
    table->push_back(free_.back());
    free_.pop_back();
    ++used_;
  }
  return true;
}

void KvPagePool::Return(std::vector<float*>* table) {
  used_ -= static_cast<int64_t>(table->size());
  free_.insert(free_.end(), table->begin(), table->end());
  table->clear();
}

}  // namespace tritter
