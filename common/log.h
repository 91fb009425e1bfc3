// Structured logging: one line an event, on stderr (spdlog behind it; not visible here, so that
// this header stays cheap). Format:
//   2026-01-31T12:00:00.000Z INFO coordinator epoch_formed run=r-1 epoch=2
#pragma once

#include <initializer_list>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tritter {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogField {
  // Any type that absl::StrCat takes. Values with spaces or quotes are quoted in the line.
  LogField(absl::string_view k, const absl::AlphaNum& v) : key(k), value(v.Piece()) {}
  // Numbers are numbers in JSON, and exactly bool is a boolean: a pointer must not become one.
  template <typename T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
  LogField(absl::string_view k, T v) : key(k), bare(true) {
    if constexpr (std::is_same_v<T, bool>) {
      value = v ? "true" : "false";
    } else {
      value = absl::StrCat(v);
    }
  }
  absl::string_view key;
  std::string value;
  bool bare = false;  // a number or a boolean
};

// `component` (coordinator, worker, inference …) and level are process-wide, set once in main.
// Format: "text" (above) or "json" (one object a line).
void InitLogging(absl::string_view component, LogLevel level, absl::string_view format = "text");
void LogEvent(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields = {});
bool ParseLogLevel(absl::string_view text, LogLevel* level);  // debug, info, warning, error

inline void LogInfo(absl::string_view e, std::initializer_list<LogField> f = {}) {
  LogEvent(LogLevel::kInfo, e, f);
}
inline void LogWarning(absl::string_view e, std::initializer_list<LogField> f = {}) {
  LogEvent(LogLevel::kWarning, e, f);
}
inline void LogError(absl::string_view e, std::initializer_list<LogField> f = {}) {
  LogEvent(LogLevel::kError, e, f);
}
inline void LogDebug(absl::string_view e, std::initializer_list<LogField> f = {}) {
  LogEvent(LogLevel::kDebug, e, f);
}

}  // namespace tritter
