// The line in which every benchmark reports a figure; scripts/benchmarks collects them.
#pragma once

#include <string>
#include <vector>

namespace tritter {

// Exit code of a benchmark that ran to its end and has a figure that misses its bar.
inline constexpr int kExitBarMissed = 3;

struct Figure {
  std::string name;  // what was measured, with its shape
  double value = 0;
  std::string unit;    // "x", "tokens/s", "ms", …
  std::string anchor;  // what it is held against, measured in the same run
  std::string bar;     // "<= 1.05", ">= 600", or "" for a figure that is only reported
};

// `figure<TAB>name<TAB>value<TAB>unit<TAB>anchor<TAB>bar<TAB>met|missed|-` on standard output.
void PrintFigure(const Figure& figure);
// Whether `value` meets `bar` ("<= 1.05" or ">= 600"); one that is not a number does not.
bool MeetsBar(double value, const std::string& bar);
// What the process ends with: 0, or kExitBarMissed after a last line on standard output that names
// the figures printed so far that miss their bars. From the thread that printed them.
int ConcludeFigures();
// The upper one of an even number; `values` must not be empty.
double Median(std::vector<double> values);

}  // namespace tritter
