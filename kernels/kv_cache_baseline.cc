#define TRITTER_KV_OPS_NAME "baseline"
#define TRITTER_KV_OPS_TABLE kBaselineKvOps
#include "kernels/kv_cache_lanes.inc"
