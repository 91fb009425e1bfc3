// TensorKernels over kernels/cuda: one launch each instead of a dozen LibTorch operations, and the
// products of cuBLAS. Only in CUDA builds.
#pragma once

#include "worker/training/formula/tensor_kernels.h"

namespace tritter {

// Lives as long as the process. Tensors are on one CUDA device, the caller's current stream does
// the work. Heads are at most 256 wide (as in the fused attention).
const TensorKernels& CudaKernels();

}  // namespace tritter
