#define TRITTER_ATTENTION_OPS_NAME "avx512"
#define TRITTER_ATTENTION_OPS_TABLE kAvx512AttentionOps
#include "kernels/training_attention_lanes.inc"
