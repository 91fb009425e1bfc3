#define TRITTER_ROW_OPS_NAME "baseline"
#define TRITTER_ROW_OPS_TABLE kBaselineRowQuantisedOps
#include "kernels/row_quantised_plain.inc"
