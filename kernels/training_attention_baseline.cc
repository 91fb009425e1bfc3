#define TRITTER_ATTENTION_OPS_NAME "baseline"
#define TRITTER_ATTENTION_OPS_TABLE kBaselineAttentionOps
#include "kernels/training_attention_lanes.inc"
