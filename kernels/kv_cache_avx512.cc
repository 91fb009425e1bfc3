#define TRITTER_KV_OPS_NAME "avx512"
#define TRITTER_KV_OPS_TABLE kAvx512KvOps
#include "kernels/kv_cache_lanes.inc"
