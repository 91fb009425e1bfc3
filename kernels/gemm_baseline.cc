#define TRITTER_GEMM_NAME "baseline"
#define TRITTER_GEMM_TABLE kBaselineGemm
#define TRITTER_GEMM_ROWS 2
#define TRITTER_GEMM_VECTORS 1
#include "kernels/gemm_lanes.inc"
