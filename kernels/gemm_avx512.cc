#define TRITTER_GEMM_NAME "avx512"
#define TRITTER_GEMM_TABLE kAvx512Gemm
#define TRITTER_GEMM_ROWS 14
#define TRITTER_GEMM_VECTORS 2
#include "kernels/gemm_lanes.inc"
