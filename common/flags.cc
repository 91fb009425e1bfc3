#include "common/flags.h"

#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/version.h"

namespace tritter {

namespace {

// Help and version are no settings, and arguments without dashes have no name.
void NameTwins(CLI::App* app) {
  for (CLI::Option* option : app->get_options()) {
    if (option->get_lnames().empty() || option == app->get_help_ptr() ||
        option == app->get_version_ptr())
      continue;
    option->envname(EnvName("--" + option->get_lnames().front()));
  }
}

// CLI11 reads and checks the twins of all subcommands: so those of one are named when it is met.
void NameTwinsWhenCalled(CLI::App* app) {
  for (CLI::App* command : app->get_subcommands([](CLI::App*) { return true; })) {
    command->preparse_callback([command](size_t) { NameTwins(command); });
    NameTwinsWhenCalled(command);
  }
}

}  // namespace

std::string EnvName(const std::string& flag) {
  const size_t dashes = flag.find("--");
  absl::string_view name = flag;
  if (dashes != std::string::npos) name = name.substr(dashes + 2);
  name = name.substr(0, name.find_first_of(",!{"));
  return absl::StrCat("TRITTER_",
                      absl::AsciiStrToUpper(absl::StrReplaceAll(name, {{"-", "_"}, {".", "_"}})));
}

void AddCommonFlags(CLI::App* app, LogFlags* log) {
  app->add_option_function<std::string>(
         "--log-level",
         [log](const std::string& text) {
           if (!ParseLogLevel(text, &log->level)) {
             throw CLI::ValidationError("--log-level",
                                        "expected debug, info, warning or error, got " + text);
           }
         },
         "least severe events that are logged: debug, info, warning, error")
      ->default_str("info");
  AddFlag(app, "--log-format", &log->format, "text (one line an event) or json")
      ->check(CLI::IsMember({"text", "json"}));
  app->set_version_flag("--version", kVersion);
}

std::optional<int> ParseFlags(CLI::App* app, int argc, const char* const* argv) {
  NameTwins(app);
  NameTwinsWhenCalled(app);
  try {
    app->parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    // CLI11 prints help and version itself, and gives each kind of error a code of its own.
    return app->exit(error, std::cout, std::cerr) == 0 ? 0 : kExitUsage;
  }
}

}  // namespace tritter
