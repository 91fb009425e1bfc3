#define TRITTER_FLOAT_OPS_NAME "baseline"
#define TRITTER_FLOAT_OPS_TABLE kBaselineFloatOps
#include "kernels/float_ops_lanes.inc"
