#include "common/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"

namespace tritter {
namespace {

struct Logging {
  std::shared_ptr<spdlog::logger> logger;
  std::string component;
  bool json = false;
};

std::shared_ptr<Logging> MakeLogging(absl::string_view component, LogLevel level, bool json) {
  auto logging = std::make_shared<Logging>();
  logging->component = std::string(component);
  logging->json = json;
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  sink->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      json ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",%v" : "%Y-%m-%dT%H:%M:%S.%eZ %v",
      spdlog::pattern_time_type::utc));
  logging->logger = std::make_shared<spdlog::logger>("tritter", std::move(sink));
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  logging->logger->set_level(kLevels[static_cast<int>(level)]);
  logging->logger->flush_on(spdlog::level::debug);
  return logging;
}

// Leaked on purpose: threads that outlive main may still log. Swapped atomically, so that a late
// InitLogging (a test) does not race with a logging thread.
std::shared_ptr<Logging>& Current() {
  static auto* const current =
      new std::shared_ptr<Logging>(MakeLogging("", LogLevel::kInfo, /*json=*/false));
  return *current;
}

const char* Name(LogLevel level) {
  static constexpr const char* kNames[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
  return kNames[static_cast<int>(level)];
}

std::string Quoted(const std::string& value) {
  const bool plain = !value.empty() && std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return c > ' ' && c != '"' && c != '=' && c != '\\' && c != 0x7f;
  });
  return plain ? value : absl::StrCat("\"", absl::Utf8SafeCEscape(value), "\"");
}

std::string TextLine(LogLevel level, const std::string& component, absl::string_view event,
                     std::initializer_list<LogField> fields) {
  std::string line = absl::StrCat(Name(level), " ", component, component.empty() ? "" : " ", event);
  for (const LogField& f : fields) absl::StrAppend(&line, " ", f.key, "=", Quoted(f.value));
  return line;
}

std::string JsonLine(LogLevel level, const std::string& component, absl::string_view event,
                     std::initializer_list<LogField> fields) {
  nlohmann::ordered_json object;
  object["level"] = absl::AsciiStrToLower(Name(level));
  object["component"] = component;
  object["event"] = std::string(event);
  for (const LogField& f : fields) {
    nlohmann::ordered_json value(f.value);
    // JSON has no infinity and no NaN: they stay words.
    if (f.bare && nlohmann::json::accept(f.value)) value = nlohmann::json::parse(f.value);
    object[std::string(f.key)] = std::move(value);
  }
  // The sink's pattern has opened the object and written the time.
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(1);
}

}  // namespace

void InitLogging(absl::string_view component, LogLevel level, absl::string_view format) {
  std::atomic_store(&Current(), MakeLogging(component, level, format == "json"));
}

void LogEvent(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields) {
  const std::shared_ptr<Logging> logging = std::atomic_load(&Current());
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  const spdlog::level::level_enum spd_level = kLevels[static_cast<int>(level)];
  if (!logging->logger->should_log(spd_level)) return;
  const std::string line = logging->json ? JsonLine(level, logging->component, event, fields)
                                         : TextLine(level, logging->component, event, fields);
  logging->logger->log(spd_level, spdlog::string_view_t(line.data(), line.size()));
}

bool ParseLogLevel(absl::string_view text, LogLevel* level) {
  static constexpr std::pair<absl::string_view, LogLevel> kNames[] = {
      {"debug", LogLevel::kDebug},
      {"info", LogLevel::kInfo},
      {"warning", LogLevel::kWarning},
      {"error", LogLevel::kError}};
  for (const auto& [name, value] : kNames) {
    if (name == text) {
      *level = value;
      return true;
    }
  }
  return false;
}

}  // namespace tritter
