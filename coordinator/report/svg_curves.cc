#include "coordinator/report/svg_curves.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace tritter {
namespace {

constexpr double kWidth = 880, kLeft = 70, kRight = 24, kTop = 56, kGap = 62, kBottom = 52;
constexpr double kPlot = kWidth - kLeft - kRight;

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

// A step of 1, 2 or 5 times a power of ten that divides `span` into about `wanted` parts.
double TickStep(double span, int wanted) {
  const double rough = span / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double times : {1.0, 2.0, 5.0}) {
    if (times * power >= rough * 0.999) return times * power;
  }
  return 10 * power;
}

struct Axis {
  double low = 0, high = 1, step = 0.5;
  double At(double value, double pixels) const { return (value - low) / (high - low) * pixels; }
};

Axis AxisOver(double low, double high, int ticks) {
  if (!(high > low)) {
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= room;
    high += room;
  }
  const double step = TickStep(high - low, ticks);
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
}

std::string TickText(double value, double step) {
  if (std::abs(value) < step / 2) return "0";
  return step >= 1 ? absl::StrFormat("%.0f", value) : absl::StrFormat("%g", value);
}

void Text(double x, double y, const char* attributes, const std::string& text, std::string* out) {
  absl::StrAppendFormat(out, "<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>\n", x, y, attributes,
                        Escaped(text));
}

void Line(double x1, double y1, double x2, double y2, const char* attributes, std::string* out) {
  absl::StrAppendFormat(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1,
                        x2, y2, attributes);
}

void DrawSeries(const CurveSeries& series, const Axis& x, const Axis& y, double top, double height,
                std::string* out) {
  std::string path, dots;
  for (const auto& [px, py] : series.points) {
    if (!std::isfinite(py)) continue;
    const double sx = kLeft + x.At(px, kPlot), sy = top + height - y.At(py, height);
    absl::StrAppendFormat(&path, "%s%.1f,%.1f", path.empty() ? "" : " ", sx, sy);
    if (series.dots) {
      absl::StrAppendFormat(&dots, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", sx,
                            sy, series.colour);
    }
  }
  absl::StrAppendFormat(out,
                        "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" "
                        "stroke-linejoin=\"round\"%s%s/>\n%s",
                        path, series.colour, series.width,
                        series.dashed ? " stroke-dasharray=\"6 4\"" : "",
                        series.faint ? " opacity=\"0.3\"" : "", dots);
}

// Where the y axis of a panel ends: over all finite values.
Axis YAxis(const CurvePanel& panel) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const CurveSeries& series : panel.series) {
    for (const auto& [x, y] : series.points) {
      if (!std::isfinite(y)) continue;
      low = std::min(low, y);
      high = std::max(high, y);
    }
  }
  if (low > high) low = high = 0;
  return AxisOver(panel.from_zero ? std::min(0.0, low) : low, high,
                  std::max(2, static_cast<int>(panel.height / 55)));
}

void DrawPanel(const CurvePanel& panel, const Axis& x, double top, std::string* out) {
  const Axis y = YAxis(panel);
  const double bottom = top + panel.height;
  Text(kLeft, top - 10, "class=\"panel\"", panel.title, out);
  for (double v = y.low; v <= y.high + y.step / 2; v += y.step) {
    const double at = bottom - y.At(v, panel.height);
    Line(kLeft, at, kLeft + kPlot, at, "class=\"grid\"", out);
    Text(kLeft - 8, at + 4, "text-anchor=\"end\"", TickText(v, y.step), out);
  }
  for (double v = x.low; v <= x.high + x.step * 1e-6; v += x.step) {
    const double at = kLeft + x.At(v, kPlot);
    Line(at, bottom, at, bottom + 5, "class=\"axis\"", out);
    Text(at, bottom + 18, "text-anchor=\"middle\"", TickText(v, x.step), out);
  }
  Line(kLeft, bottom, kLeft + kPlot, bottom, "class=\"axis\"", out);
  for (const CurveSeries& series : panel.series) DrawSeries(series, x, y, top, panel.height, out);
  double legend = top + 16;
  for (const CurveSeries& series : panel.series) {
    if (series.label.empty()) continue;
    const double right = kLeft + kPlot - 8;
    absl::StrAppendFormat(out,
                          "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
                          "stroke-width=\"2.5\"%s/>\n",
                          right - 26, legend - 4, right, legend - 4, series.colour,
                          series.dashed ? " stroke-dasharray=\"6 4\"" : "");
    Text(right - 34, legend, "text-anchor=\"end\"", series.label, out);
    legend += 18;
  }
}

}  // namespace

std::string SvgCurves(const std::string& title, const std::string& x_label, double x_end,
                      const std::vector<CurvePanel>& panels) {
  double height = kTop - kGap + kBottom;
  for (const CurvePanel& panel : panels) height += panel.height + kGap;
  height += 12;
  std::string out = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "viewBox=\"0 0 %.0f %.0f\" font-family=\"system-ui, sans-serif\" font-size=\"12\" "
      "fill=\"#333\">\n"
      "<style>.grid{stroke:#e6e6e6}.axis{stroke:#999}.panel{font-weight:600;font-size:13px}"
      ".title{font-weight:600;font-size:16px}</style>\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
      kWidth, height, kWidth, height);
  Text(kLeft, 24, "class=\"title\"", title, &out);
  Axis x = AxisOver(0, std::max(x_end, 1.0), 8);
  x.high = std::max(x_end, 1.0);  // the curves reach the right end
  double top = kTop;
  for (const CurvePanel& panel : panels) {
    DrawPanel(panel, x, top, &out);
    top += panel.height + kGap;
  }
  Text(kLeft + kPlot / 2, height - 12, "text-anchor=\"middle\"", x_label, &out);
  return out + "</svg>\n";
}

}  // namespace tritter
