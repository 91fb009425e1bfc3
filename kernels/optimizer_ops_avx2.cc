#define TRITTER_OPTIMIZER_OPS_NAME "avx2"
#define TRITTER_OPTIMIZER_OPS_TABLE kAvx2OptimizerOps
#include "kernels/optimizer_ops_lanes.inc"
