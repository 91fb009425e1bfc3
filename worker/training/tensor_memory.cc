#include "worker/training/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <cstring>
#include <new>

#include "worker/training/block_pool.h"

namespace tritter {
namespace {

constexpr size_t kSmallest = size_t{64} << 10;  // below, what is lost to whole pages counts

BlockPool* ThePool() {
  static auto* const pool = new BlockPool;  // tensors may outlive every other object
  return pool;
}

class PoolAllocator : public c10::Allocator {
 public:
  explicit PoolAllocator(c10::Allocator* heap) : heap_(heap) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes < kSmallest) return heap_->allocate(bytes);
    void* const block = ThePool()->Take(static_cast<int64_t>(bytes));
    if (block == nullptr) throw std::bad_alloc();  // the trainer says what to do
    return {block, block, &GiveBack, c10::Device(c10::DeviceType::CPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

 private:
  static void GiveBack(void* block) { ThePool()->GiveBack(block); }

  c10::Allocator* const heap_;
};

}  // namespace

BlockPool* TensorsFromPool() {
  static const bool once = [] {
    c10::SetCPUAllocator(new PoolAllocator(c10::GetDefaultCPUAllocator()), /*priority=*/1);
    return true;
  }();
  (void)once;
  return ThePool();
}

}  // namespace tritter
