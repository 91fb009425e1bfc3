// Prints docs/reference/metrics.md.
#include <cstdio>

#include "monitoring/catalogue.h"

int main() {
  fputs(tritter::CatalogueAsMarkdown().c_str(), stdout);
  return 0;
}
