#include "worker/training/block_pool.h"

#include <sys/mman.h>

#include <algorithm>

namespace tritter {
namespace {
constexpr int64_t kPage = 4096;
}  // namespace

BlockPool::~BlockPool() { DropFree(); }

void* BlockPool::Take(int64_t bytes) {
  const int64_t size = (std::max<int64_t>(bytes, 1) + kPage - 1) / kPage * kPage;
  MutexLock lock(&mu_);
  void* block = nullptr;
  if (const auto same = free_.find(size); same != free_.end() && !same->second.empty()) {
    block = same->second.back().at;
    same->second.pop_back();
  } else {
    block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return nullptr;
    held_ += size;
  }
  taken_[block] = size;
  return block;
}

void BlockPool::GiveBack(void* block) {
  if (block == nullptr) return;
  MutexLock lock(&mu_);
  const auto taken = taken_.find(block);
  free_[taken->second].push_back({block, true});
  taken_.erase(taken);
}

void BlockPool::Unmap(void* block, int64_t bytes) {
  munmap(block, bytes);
  held_ -= bytes;
}

void BlockPool::DropUnused() {
  MutexLock lock(&mu_);
  for (auto& [size, blocks] : free_) {
    std::vector<FreeBlock> kept;
    for (const FreeBlock& block : blocks) {
      if (block.recent) {
        kept.push_back({block.at, false});
      } else {
        Unmap(block.at, size);
      }
    }
    blocks = std::move(kept);
  }
}

void BlockPool::DropFree() {
  MutexLock lock(&mu_);
  for (const auto& [size, blocks] : free_) {
    for (const FreeBlock& block : blocks) Unmap(block.at, size);
  }
  free_.clear();
}

int64_t BlockPool::held_bytes() const {
  MutexLock lock(&mu_);
  return held_;
}

}  // namespace tritter
