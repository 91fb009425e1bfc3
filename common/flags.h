// Flags as all binaries have them: CLI11 with an environment twin for each option that has a long
// name (ParseFlags sees to it), common options, exit code 2 for wrong use.
//   CLI::App app("Tritter coordinator");
//   std::string listen = "127.0.0.1:7000";
//   AddFlag(&app, "--listen", &listen, "address of the RPC service");       // or TRITTER_LISTEN
//   LogFlags log;
//   AddCommonFlags(&app, &log);
//   if (std::optional<int> exit_code = ParseFlags(&app, argc, argv)) return *exit_code;
//   InitLogging("coordinator", log.level, log.format);
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "common/log.h"

namespace tritter {

inline constexpr int kExitUsage = 2;

// "--log-level" → "TRITTER_LOG_LEVEL"; of "-o,--output" the long name counts.
std::string EnvName(const std::string& flag);

// An option whose default is *value. bool makes a switch: --name, and TRITTER_NAME=true|false.
template <typename T>
CLI::Option* AddFlag(CLI::App* app, const std::string& name, T* value,
                     const std::string& description) {
  return app->add_option(name, *value, description)->capture_default_str();
}
inline CLI::Option* AddFlag(CLI::App* app, const std::string& name, bool* value,
                            const std::string& description) {
  return app->add_flag(name, *value, description);
}

struct LogFlags {
  LogLevel level = LogLevel::kInfo;
  std::string format = "text";
};

// --log-level, --log-format and --version.
void AddCommonFlags(CLI::App* app, LogFlags* log);

// Every option gets its TRITTER_ twin (EnvName), those of subcommands too; the command line wins
// over the twin, and twins of commands that are not called are not looked at.
// Nothing when main should go on; else what main returns: 0 after --help or --version (printed on
// stdout), kExitUsage after an error (on stderr, with a pointer to --help).
std::optional<int> ParseFlags(CLI::App* app, int argc, const char* const* argv);

}  // namespace tritter
