#include "common/flags.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/nearest_word.h"
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

// What to say when a word that is none stands where a command is expected; empty when it is not
// that which is wrong.
std::string UnknownCommand(const CLI::App* app) {
  const std::vector<std::string> rest = app->remaining(/*recurse=*/true);
  std::string path = app->get_name();
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    absl::StrAppend(&path, " ", app->get_name());
  }
  if (app->get_require_subcommand_min() == 0 || rest.empty() || absl::StartsWith(rest[0], "-"))
    return "";
  std::vector<std::string> known;
  for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(command->get_name());
  const std::string nearest = NearestWord(rest[0], known);
  return absl::StrCat(path, ": no command is called `", rest[0], "`",
                      nearest.empty() ? "" : absl::StrCat(" (did you mean `", nearest, "`?)"),
                      "\nhint: ", path, " --help lists the commands\n");
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

const Flag& Flag::Required() const {
  option_->required()->default_str("");
  return *this;
}
const Flag& Flag::HideDefault() const {
  option_->default_str("");
  return *this;
}
const Flag& Flag::OneOf(std::vector<std::string> values) const {
  option_->check(CLI::IsMember(std::move(values)));
  return *this;
}
const Flag& Flag::NonNegative() const {
  option_->check(CLI::NonNegativeNumber);
  return *this;
}
const Flag& Flag::Positive() const {
  option_->check(CLI::PositiveNumber);
  return *this;
}
const Flag& Flag::Between(int low, int high) const {
  option_->check(CLI::Range(low, high));
  return *this;
}
const Flag& Flag::Between(double low, double high, const std::string& in_words) const {
  option_->check(in_words.empty() ? CLI::Range(low, high) : CLI::Range(low, high, in_words));
  return *this;
}
const Flag& Flag::ExistingFile() const {
  option_->check(CLI::ExistingFile);
  return *this;
}
const Flag& Flag::WithUnit() const {
  option_->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  return *this;
}

CommandLine::CommandLine(const std::string& description, const std::string& name)
    : owned_(std::make_unique<CLI::App>(description, name)), app_(owned_.get()) {}
CommandLine::CommandLine(CLI::App* command) : app_(command) {}
CommandLine::~CommandLine() = default;

template <typename T>
Flag CommandLine::AddFlag(const std::string& name, T* value, const std::string& description) {
  if constexpr (std::is_same_v<T, bool>) {
    return Flag(app_->add_flag(name, *value, description));
  } else {
    CLI::Option* const option = app_->add_option(name, *value, description)->capture_default_str();
    if constexpr (std::is_same_v<T, std::vector<std::string>>)
      option->take_all()->allow_extra_args(false);
    return Flag(option);
  }
}
template Flag CommandLine::AddFlag(const std::string&, bool*, const std::string&);
template Flag CommandLine::AddFlag(const std::string&, int*, const std::string&);
template Flag CommandLine::AddFlag(const std::string&, uint32_t*, const std::string&);
template Flag CommandLine::AddFlag(const std::string&, int64_t*, const std::string&);
template Flag CommandLine::AddFlag(const std::string&, uint64_t*, const std::string&);
template Flag CommandLine::AddFlag(const std::string&, float*, const std::string&);
template Flag CommandLine::AddFlag(const std::string&, double*, const std::string&);
template Flag CommandLine::AddFlag(const std::string&, std::string*, const std::string&);
template Flag CommandLine::AddFlag(const std::string&, std::vector<std::string>*,
                                   const std::string&);

CommandLine* CommandLine::AddCommand(const std::string& name, const std::string& description) {
  commands_.push_back(
      std::unique_ptr<CommandLine>(new CommandLine(app_->add_subcommand(name, description))));
  return commands_.back().get();
}
void CommandLine::RequireCommand() { app_->require_subcommand(1); }
void CommandLine::FlagsOfTheProgramAnywhere() { app_->fallthrough(); }
void CommandLine::AddFooter(const std::string& text) { app_->footer(text); }
void CommandLine::OnCall(std::function<void()> call) { app_->callback(std::move(call)); }
bool CommandLine::IsGiven(const std::string& name) const {
  return app_->get_option(name)->count() > 0;
}

void AddVersionFlag(CommandLine* line) { line->app_->set_version_flag("--version", kVersion); }

void AddCommonFlags(CommandLine* line, LogFlags* log) {
  line->app_
      ->add_option_function<std::string>(
          "--log-level",
          [log](const std::string& text) {
            if (!ParseLogLevel(text, &log->level)) {
              throw CLI::ValidationError("--log-level",
                                         "expected debug, info, warning or error, got " + text);
            }
          },
          "least severe events that are logged: debug, info, warning, error")
      ->default_str("info");
  line->AddFlag("--log-format", &log->format, "text (one line an event) or json")
      .OneOf({"text", "json"});
  AddVersionFlag(line);
}

std::optional<int> ParseFlags(CommandLine* line, int argc, const char* const* argv) {
  CLI::App* const app = line->app_;
  NameTwins(app);
  NameTwinsWhenCalled(app);
  try {
    app->parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    const std::string unknown = error.get_exit_code() == 0 ? "" : UnknownCommand(app);
    if (!unknown.empty()) {
      std::cerr << unknown;
      return kExitUsage;
    }
    // CLI11 prints help and version itself, and gives each kind of error a code of its own.
    return app->exit(error, std::cout, std::cerr) == 0 ? 0 : kExitUsage;
  }
}

}  // namespace tritter
