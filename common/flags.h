// Flags as all binaries have them, with an environment twin for each that has a long name and exit
// code 2 for wrong use. CLI11 does the work; it stays out of this header because it adds ten
// seconds to each file that includes it.
//   CommandLine app("Tritter coordinator");
//   std::string listen = "127.0.0.1:7000";
//   app.AddFlag("--listen", &listen, "address of the RPC service");         // or TRITTER_LISTEN
//   LogFlags log;
//   AddCommonFlags(&app, &log);
//   if (std::optional<int> exit_code = ParseFlags(&app, argc, argv)) return *exit_code;
//   InitLogging("coordinator", log.level, log.format);
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/log.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tritter {

inline constexpr int kExitUsage = 2;

// "--log-level" → "TRITTER_LOG_LEVEL"; of "-o,--output" the long name counts.
std::string EnvName(const std::string& flag);

struct LogFlags {
  LogLevel level = LogLevel::kInfo;
  std::string format = "text";
};

// What is asked of a flag's value; wrong use otherwise.
class Flag {
 public:
  explicit Flag(CLI::Option* option) : option_(option) {}
  const Flag& Required() const;
  const Flag& HideDefault() const;  // in --help: the description says what happens without it
  const Flag& OneOf(std::vector<std::string> values) const;
  const Flag& NonNegative() const;
  const Flag& Positive() const;
  const Flag& Between(int low, int high) const;  // both included
  const Flag& Between(double low, double high, const std::string& in_words = "") const;
  const Flag& ExistingFile() const;
  const Flag& WithUnit() const;  // bytes: 1000, 4kB, 512MiB

 private:
  CLI::Option* const option_;
};

// A program's command line, or that of one of its commands.
class CommandLine {
 public:
  explicit CommandLine(const std::string& description, const std::string& name = "");
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // "--name", "-n,--name", or "name" for an argument by its place. The default is *value, which is
  // of type bool (a switch: --name, and TRITTER_NAME=true|false), int, uint32_t, int64_t, uint64_t,
  // float, double, std::string, or std::vector<std::string> (may be given more than once).
  template <typename T>
  Flag AddFlag(const std::string& name, T* value, const std::string& description);
  CommandLine* AddCommand(const std::string& name, const std::string& description);
  void RequireCommand();
  void FlagsOfTheProgramAnywhere();  // also behind the name of a command
  void AddFooter(const std::string& text);
  // Runs once the command line is understood and names this command.
  void OnCall(std::function<void()> call);
  // Whether the command line or the twin gave it.
  bool IsGiven(const std::string& name) const;

 private:
  friend void AddCommonFlags(CommandLine* line, LogFlags* log);
  friend void AddVersionFlag(CommandLine* line);
  friend std::optional<int> ParseFlags(CommandLine* line, int argc, const char* const* argv);
  explicit CommandLine(CLI::App* command);

  std::unique_ptr<CLI::App> owned_;  // of the program
  CLI::App* const app_;
  std::vector<std::unique_ptr<CommandLine>> commands_;
};

// --version.
void AddVersionFlag(CommandLine* line);

// --log-level, --log-format and --version.
void AddCommonFlags(CommandLine* line, LogFlags* log);

// Every flag gets its TRITTER_ twin (EnvName), those of commands too; the command line wins over
// the twin, and twins of commands that are not called are not looked at.
// Nothing when main should go on; else what main returns: 0 after --help or --version (printed on
// stdout), kExitUsage after an error (on stderr, with a pointer to --help; an unknown command with
// the one that may have been meant).
std::optional<int> ParseFlags(CommandLine* line, int argc, const char* const* argv);

}  // namespace tritter
