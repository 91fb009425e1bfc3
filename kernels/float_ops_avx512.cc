#define TRITTER_FLOAT_OPS_NAME "avx512"
#define TRITTER_FLOAT_OPS_TABLE kAvx512FloatOps
#include "kernels/float_ops_lanes.inc"
