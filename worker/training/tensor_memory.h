// LibTorch's tensors in blocks of a pool (block_pool.h), process-wide.
#pragma once

namespace tritter {

class BlockPool;

// From the first call on LibTorch takes the memory of CPU tensors from the pool that is returned;
// small ones stay on the heap. The pool lives as long as the process.
BlockPool* TensorsFromPool();

}  // namespace tritter
