#define TRITTER_ATTENTION_OPS_NAME "avx2"
#define TRITTER_ATTENTION_OPS_TABLE kAvx2AttentionOps
#include "kernels/training_attention_lanes.inc"
