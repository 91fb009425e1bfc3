#define TRITTER_KV_OPS_NAME "avx2"
#define TRITTER_KV_OPS_TABLE kAvx2KvOps
#include "kernels/kv_cache_lanes.inc"
