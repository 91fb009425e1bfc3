#define TRITTER_TRAINING_OPS_NAME "avx2"
#define TRITTER_TRAINING_OPS_TABLE kAvx2TrainingOps
#include "kernels/training_ops_lanes.inc"
