#define TRITTER_TRAINING_OPS_NAME "baseline"
#define TRITTER_TRAINING_OPS_TABLE kBaselineTrainingOps
#include "kernels/training_ops_lanes.inc"
