#define TRITTER_FLOAT_OPS_NAME "avx2"
#define TRITTER_FLOAT_OPS_TABLE kAvx2FloatOps
#include "kernels/float_ops_lanes.inc"
