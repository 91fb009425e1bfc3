// Copies of the training state, taken while training waits: in memory that is used again, by the
// trainer's threads, so that a copy costs what its bytes cost.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/mutex.h"
#include "worker/training/float_buffer.h"
#include "worker/training/parallel.h"

namespace tritter {

// Pieces of memory as they were when they were copied. Immutable; its memory goes back to the pool
// with it.
class CopiedPieces {
 public:
  CopiedPieces(CopiedPieces&&) = default;
  CopiedPieces& operator=(CopiedPieces&&) = delete;
  ~CopiedPieces();

  // As numbered when they were copied.
  absl::Span<const uint8_t> piece(size_t index) const { return pieces_[index]; }

 private:
  friend class CopyPool;
  struct Spare {
    Mutex mu;
    FloatBuffer buffer GUARDED_BY(mu);
  };
  CopiedPieces() = default;

  std::shared_ptr<Spare> spare_;
  FloatBuffer buffer_;
  std::vector<absl::Span<const uint8_t>> pieces_;
};

// Keeps the memory of one copy. A fresh one has to be cleared by the kernel page by page at its
// first touch, which takes longer than copying. Used by one thread; copies may die on any, and
// outlive it.
class CopyPool {
 public:
  // Memory for the next copy, so that the first is as quick as the later ones.
  void Reserve(int64_t bytes);
  // A second copy at the same time takes fresh memory. Throws std::bad_alloc, as FloatBuffer does.
  CopiedPieces Copy(const std::vector<absl::Span<const uint8_t>>& pieces, ParallelRows* parallel);

 private:
  FloatBuffer Take(int64_t bytes);

  const std::shared_ptr<CopiedPieces::Spare> spare_ = std::make_shared<CopiedPieces::Spare>();
};

}  // namespace tritter
