// What commands print on stdout: tables for people, JSON, YAML and names for scripts.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tritterctl/proto_json.h"

namespace tritter {

// kWide is the table with every column; most answers have no more of them than kTable shows.
enum class OutputFormat { kTable, kWide, kJson, kYaml, kName };
// InvalidArgument listing the choices.
absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view text);

// Columns padded to their widest cell, two spaces between, none at line ends.
std::string FormatTable(const std::vector<std::string>& head,
                        const std::vector<std::vector<std::string>>& rows);

// Two-space indentation and a final line break. Bytes that are not UTF-8 become U+FFFD.
std::string FormatJson(const OrderedJson& json);
// Block style; strings are quoted as in JSON unless they are plain words.
std::string FormatYaml(const OrderedJson& json);

// One answer in the form asked for: `table` and `names` are made only when wanted.
template <typename TableFn, typename NameFn>
std::string FormatAnswer(OutputFormat format, const OrderedJson& json, TableFn table,
                         NameFn names) {
  switch (format) {
    case OutputFormat::kJson:
      return FormatJson(json);
    case OutputFormat::kYaml:
      return FormatYaml(json);
    case OutputFormat::kName:
      return names();
    case OutputFormat::kTable:
    case OutputFormat::kWide:
      break;
  }
  return table();
}

// To stdout, whole and flushed. Errors: Aborted when nobody reads it any more (`| head`), which is
// no failure; those of errno (a full disk).
absl::Status WriteStdout(absl::string_view text);

// 1234567 → "1.23 MB" (decimal units); 75.2 s → "1m15s"; 12345.6 → "12.3k".
std::string FormatBytes(double bytes);
std::string FormatSeconds(double seconds);
std::string FormatCount(double count);
// Milliseconds since the epoch → "2026-01-31 12:00:00" (UTC); 0 → "-".
std::string FormatTimeMs(int64_t ms);

}  // namespace tritter
