#define TRITTER_OPTIMIZER_OPS_NAME "baseline"
#define TRITTER_OPTIMIZER_OPS_TABLE kBaselineOptimizerOps
#include "kernels/optimizer_ops_lanes.inc"
