#include "common/figure.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace tritter {

bool MeetsBar(double value, const std::string& bar) {
  const double limit = std::strtod(bar.c_str() + 2, nullptr);
  return bar.rfind("<=", 0) == 0 ? value <= limit : value >= limit;
}

void PrintFigure(const Figure& figure) {
  const char* const verdict = figure.bar.empty()                   ? "-"
                              : MeetsBar(figure.value, figure.bar) ? "met"
                                                                   : "missed";
  std::printf("figure\t%s\t%.4g\t%s\t%s\t%s\t%s\n", figure.name.c_str(), figure.value,
              figure.unit.c_str(), figure.anchor.c_str(), figure.bar.c_str(), verdict);
  std::fflush(stdout);
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace tritter
