#define TRITTER_GEMM_NAME "avx2"
#define TRITTER_GEMM_TABLE kAvx2Gemm
#define TRITTER_GEMM_ROWS 6
#define TRITTER_GEMM_VECTORS 1
#include "kernels/gemm_lanes.inc"
