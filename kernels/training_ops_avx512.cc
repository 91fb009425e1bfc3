#define TRITTER_TRAINING_OPS_NAME "avx512"
#define TRITTER_TRAINING_OPS_TABLE kAvx512TrainingOps
#include "kernels/training_ops_lanes.inc"
