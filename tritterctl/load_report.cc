#include "tritterctl/load_report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/random.h"
#include "tritterctl/output.h"

namespace tritter {
namespace {

LoadFigures::Spread SpreadOf(const std::vector<double>& values) {
  LoadFigures::Spread spread;
  if (values.empty()) return spread;
  for (const double v : values) spread.mean += v / static_cast<double>(values.size());
  spread.p50 = Percentile(values, 50);
  spread.p90 = Percentile(values, 90);
  spread.p95 = Percentile(values, 95);
  spread.p99 = Percentile(values, 99);
  spread.max = Percentile(values, 100);
  return spread;
}

OrderedJson SpreadJson(const LoadFigures::Spread& s) {
  return {{"mean", s.mean}, {"p50", s.p50}, {"p90", s.p90},
          {"p95", s.p95},   {"p99", s.p99}, {"max", s.max}};
}

std::vector<std::string> SpreadRow(const std::string& name, const LoadFigures::Spread& s) {
  std::vector<std::string> row = {name};
  for (const double v : {s.mean, s.p50, s.p90, s.p95, s.p99, s.max})
    row.push_back(absl::StrFormat("%.2f", 1e3 * v));
  return row;
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

}  // namespace

double Percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()));
  const size_t at = static_cast<size_t>(std::clamp(rank, 1.0, static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(at - 1), values.end());
  return values[at - 1];
}

LoadFigures Summarise(const std::vector<LoadSample>& samples) {
  LoadFigures figures;
  std::vector<double> first, gaps, whole;
  absl::Duration begin = absl::InfiniteDuration(), end = absl::ZeroDuration();
  for (const LoadSample& s : samples) {
    ++figures.requests;
    begin = std::min(begin, s.due);
    end = std::max(end, s.end);
    figures.prompt_tokens += s.prompt_tokens;
    figures.generated_tokens += s.generated_tokens;
    if (!s.error.empty()) {
      ++figures.failed;
      ++figures.errors[s.error];
      continue;
    }
    first.push_back(absl::ToDoubleSeconds(s.first - s.due));
    whole.push_back(absl::ToDoubleSeconds(s.end - s.due));
    for (const absl::Duration gap : s.gaps) gaps.push_back(absl::ToDoubleSeconds(gap));
  }
  if (figures.requests > 0) figures.seconds = absl::ToDoubleSeconds(end - begin);
  figures.first_token = SpreadOf(first);
  figures.inter_token = SpreadOf(gaps);
  figures.whole = SpreadOf(whole);
  return figures;
}

std::string LoadTable(const LoadFigures& f) {
  std::string table = absl::StrFormat(
      "%d requests in %.2f s, %.2f a second, %d failed\n"
      "%d prompt tokens, %.1f a second; %d generated tokens, %.1f a second\n\n",
      f.requests, f.seconds, PerSecond(f.requests, f.seconds), f.failed, f.prompt_tokens,
      PerSecond(f.prompt_tokens, f.seconds), f.generated_tokens,
      PerSecond(f.generated_tokens, f.seconds));
  absl::StrAppend(&table, FormatTable({"MILLISECONDS", "MEAN", "P50", "P90", "P95", "P99", "MAX"},
                                      {SpreadRow("first token", f.first_token),
                                       SpreadRow("between tokens", f.inter_token),
                                       SpreadRow("whole request", f.whole)}));
  for (const auto& [code, count] : f.errors)
    absl::StrAppend(&table, "\n", count, " failed with ", code);
  if (!f.errors.empty()) table += "\n";
  return table;
}

OrderedJson LoadJson(const LoadFigures& f) {
  OrderedJson errors = OrderedJson::object();
  for (const auto& [code, count] : f.errors) errors[code] = count;
  return {{"requests", f.requests},
          {"failed", f.failed},
          {"errors", std::move(errors)},
          {"seconds", f.seconds},
          {"requests_per_second", PerSecond(f.requests, f.seconds)},
          {"prompt_tokens", f.prompt_tokens},
          {"generated_tokens", f.generated_tokens},
          {"generated_tokens_per_second", PerSecond(f.generated_tokens, f.seconds)},
          {"first_token_seconds", SpreadJson(f.first_token)},
          {"inter_token_seconds", SpreadJson(f.inter_token)},
          {"request_seconds", SpreadJson(f.whole)}};
}

std::vector<absl::Duration> PoissonArrivals(double rate, int64_t count, uint64_t seed) {
  Philox random(seed);
  std::vector<absl::Duration> due;
  absl::Duration at = absl::ZeroDuration();
  for (int64_t i = 0; i < count; ++i) {
    due.push_back(at);
    at += absl::Seconds(-std::log1p(-random.Uniform()) / rate);
  }
  return due;
}

}  // namespace tritter
