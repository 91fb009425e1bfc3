#include "tritterctl/output.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/errno_status.h"

namespace tritter {
namespace {

std::string Dump(const OrderedJson& json, int indent) {
  return json.dump(indent, ' ', false, OrderedJson::error_handler_t::replace);
}

// A word that no YAML reader takes for anything but a string.
bool IsPlainWord(const std::string& s) {
  if (s.empty() || s.size() > 200) return false;
  static constexpr const char* kReserved[] = {"true", "false", "null", "yes", "no",
                                              "on",   "off",   "y",    "n"};
  for (const char* word : kReserved) {
    if (s == word) return false;
  }
  if (!((s[0] >= 'a' && s[0] <= 'z') || s[0] == '/')) return false;
  return s.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-./") == std::string::npos;
}

void AppendYaml(const OrderedJson& json, int indent, std::string* out);

void AppendYamlValue(const OrderedJson& value, int indent, std::string* out) {
  if ((value.is_object() || value.is_array()) && !value.empty()) {
    out->push_back('\n');
    AppendYaml(value, indent, out);
  } else if (value.is_string() && IsPlainWord(value.get<std::string>())) {
    absl::StrAppend(out, " ", value.get<std::string>(), "\n");
  } else {
    absl::StrAppend(out, " ", Dump(value, -1), "\n");
  }
}

void AppendYaml(const OrderedJson& json, int indent, std::string* out) {
  const std::string pad(indent, ' ');
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      absl::StrAppend(out, pad, key, ":");
      AppendYamlValue(value, indent + 2, out);
    }
  } else {
    for (const OrderedJson& value : json) {
      if (value.is_object() && !value.empty()) {
        // The first key stands beside the dash.
        std::string item;
        AppendYaml(value, indent + 2, &item);
        absl::StrAppend(out, pad, "- ", item.substr(indent + 2));
      } else {
        absl::StrAppend(out, pad, "-");
        AppendYamlValue(value, indent + 2, out);
      }
    }
  }
}

}  // namespace

absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view text) {
  if (text == "table") return OutputFormat::kTable;
  if (text == "wide") return OutputFormat::kWide;
  if (text == "json") return OutputFormat::kJson;
  if (text == "yaml") return OutputFormat::kYaml;
  if (text == "name") return OutputFormat::kName;
  return absl::InvalidArgumentError(
      absl::StrCat("--output: expected table, wide, json, yaml or name, actual '", text, "'"));
}

std::string FormatTable(const std::vector<std::string>& head,
                        const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(head.size(), 0);
  const auto widen = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
  };
  widen(head);
  for (const auto& row : rows) widen(row);
  std::string out;
  const auto append = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i)
      line += cells[i] + std::string(widths[i] - cells[i].size() + 2, ' ');
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, line, "\n");
  };
  append(head);
  for (const auto& row : rows) append(row);
  return out;
}

std::string FormatJson(const OrderedJson& json) { return Dump(json, 2) + "\n"; }

std::string FormatYaml(const OrderedJson& json) {
  if ((!json.is_object() && !json.is_array()) || json.empty()) return Dump(json, -1) + "\n";
  std::string out;
  AppendYaml(json, 0, &out);
  return out;
}

absl::Status WriteStdout(absl::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return absl::OkStatus();
  if (errno == EPIPE) return absl::AbortedError("stdout: nobody reads it any more");
  return ErrnoStatus("write", "stdout");
}

std::string FormatBytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  int unit = 0;
  while (bytes >= 999.5 && unit < 5) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? absl::StrFormat("%.0f B", bytes)
                   : absl::StrFormat("%.3g %s", bytes, kUnits[unit]);
}

std::string FormatSeconds(double seconds) {
  if (!(seconds >= 0) || !std::isfinite(seconds)) return "-";
  if (seconds < 9.95) return absl::StrFormat("%.1fs", seconds);
  const int64_t s = std::llround(seconds);
  if (s < 60) return absl::StrFormat("%ds", s);
  if (s < 3600) return absl::StrFormat("%dm%02ds", s / 60, s % 60);
  if (s < 48 * 3600) return absl::StrFormat("%dh%02dm", s / 3600, s % 3600 / 60);
  return absl::StrFormat("%dd%02dh", s / 86400, s % 86400 / 3600);
}

std::string FormatCount(double count) {
  if (count < 999.5) return absl::StrFormat("%.0f", count);
  if (count < 999.5e3) return absl::StrFormat("%.3gk", count / 1e3);
  if (count < 999.5e6) return absl::StrFormat("%.3gM", count / 1e6);
  return absl::StrFormat("%.3gG", count / 1e9);
}

std::string FormatTimeMs(int64_t ms) {
  if (ms == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(ms), absl::UTCTimeZone());
}

}  // namespace tritter
