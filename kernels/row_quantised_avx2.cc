#define TRITTER_ROW_OPS_NAME "avx2"
#define TRITTER_ROW_OPS_TABLE kAvx2RowQuantisedOps
#include "kernels/row_quantised_plain.inc"
