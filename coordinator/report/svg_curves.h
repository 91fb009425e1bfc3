// Curves over steps as an SVG picture: panels one below the other, with axes, ticks and legends.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tritter {

struct CurveSeries {
  std::string label;  // of the legend; empty: none
  std::string colour;
  std::vector<std::pair<double, double>> points;  // by x, rising
  double width = 1.6;
  bool dashed = false;
  bool faint = false;
  bool dots = false;  // a dot at each point too
};

struct CurvePanel {
  std::string title;
  double height = 300;  // of the plot, in pixels
  std::vector<CurveSeries> series;
  bool from_zero = false;  // the y axis begins at 0
};

// All panels share the x axis, from 0 to `x_end`.
std::string SvgCurves(const std::string& title, const std::string& x_label, double x_end,
                      const std::vector<CurvePanel>& panels);

}  // namespace tritter
