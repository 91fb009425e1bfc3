#define TRITTER_OPTIMIZER_OPS_NAME "avx512"
#define TRITTER_OPTIMIZER_OPS_TABLE kAvx512OptimizerOps
#include "kernels/optimizer_ops_lanes.inc"
