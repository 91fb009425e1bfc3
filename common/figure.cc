#include "common/figure.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace tritter {
namespace {

std::vector<std::string>& Missed() {
  static auto* const names = new std::vector<std::string>();
  return *names;
}

}  // namespace

bool MeetsBar(double value, const std::string& bar) {
  const double limit = std::strtod(bar.c_str() + 2, nullptr);
  return bar.rfind("<=", 0) == 0 ? value <= limit : value >= limit;
}

void PrintFigure(const Figure& figure) {
  const bool met = figure.bar.empty() || MeetsBar(figure.value, figure.bar);
  if (!met) Missed().push_back(figure.name);
  std::printf("figure\t%s\t%.4g\t%s\t%s\t%s\t%s\n", figure.name.c_str(), figure.value,
              figure.unit.c_str(), figure.anchor.c_str(), figure.bar.c_str(),
              figure.bar.empty() ? "-"
              : met              ? "met"
                                 : "missed");
  std::fflush(stdout);
}

int ConcludeFigures() {
  if (Missed().empty()) return 0;
  std::string names;
  for (const std::string& name : Missed()) names += (names.empty() ? "" : "; ") + name;
  std::printf("missed its bar: %s\n", names.c_str());
  std::fflush(stdout);
  return kExitBarMissed;
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace tritter
