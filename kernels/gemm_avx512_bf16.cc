#define TRITTER_GEMM_NAME "avx512_bf16"
#define TRITTER_GEMM_TABLE kAvx512Bf16Gemm
#define TRITTER_GEMM_ROWS 14
#define TRITTER_GEMM_VECTORS 2
#define TRITTER_GEMM_NATIVE_BF16
#include "kernels/gemm_lanes.inc"
