#include "tritterctl/client_context.h"

#include <cstdlib>
#include <iterator>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nearest_word.h"
#include "common/status_macros.h"
#include "common/yaml.h"

namespace tritter {
namespace {

// What a context stands for.
constexpr const char* kContextFlags[] = {"--coordinator", "--server",  "--tls-ca",
                                         "--tls-cert",    "--tls-key", "--tls-server-name",
                                         "--token-file",  "--insecure"};

std::string FromEnvironment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// TRITTER_CONFIG, or the usual place below the home folder.
std::string ContextsPath() {
  if (const std::string path = FromEnvironment("TRITTER_CONFIG"); !path.empty()) return path;
  const std::string config = FromEnvironment("XDG_CONFIG_HOME"), home = FromEnvironment("HOME");
  if (!config.empty()) return JoinPath(config, "tritter/config.yaml");
  return home.empty() ? "" : JoinPath(home, ".config/tritter/config.yaml");
}

// Flags are read after the context, which gives their defaults: so --context is looked for first.
std::string ContextAskedFor(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const absl::string_view argument = argv[i];
    if (argument == "--context" && i + 1 < argc) return argv[i + 1];
    if (absl::StartsWith(argument, "--context=")) return std::string(argument.substr(10));
  }
  return FromEnvironment("TRITTER_CONTEXT");
}

void ReadPath(YamlMap entry, absl::string_view key, const std::string& folder, std::string* path) {
  if (entry.Get(key, path) && !path->empty() && *path != kSystemAuthorities)
    *path = JoinPath(folder, *path);
}

}  // namespace

absl::StatusOr<ClientContext> ParseContexts(absl::string_view text, const std::string& path,
                                            const std::string& name) {
  ASSIGN_OR_RETURN(YamlDocument document, YamlDocument::Parse(text, path));
  YamlMap root = document.Root();
  std::string wanted;
  root.Get("current", &wanted);
  if (!name.empty()) wanted = name;
  std::vector<std::string> names;
  ClientContext found;
  bool is_found = false;
  for (YamlMap& entry : root.MapList("contexts")) {
    std::string own;
    ClientContext c;
    entry.Require("name");
    entry.Get("name", &own);
    entry.Get("coordinator", &c.coordinator);
    entry.Get("server", &c.server);
    const std::string folder = Dirname(path);
    ReadPath(entry, "tls_ca", folder, &c.security.tls_authority);
    ReadPath(entry, "tls_cert", folder, &c.security.tls_certificate);
    ReadPath(entry, "tls_key", folder, &c.security.tls_key);
    entry.Get("tls_server_name", &c.security.tls_server_name);
    ReadPath(entry, "token_file", folder, &c.security.token_file);
    entry.Get("insecure", &c.security.insecure);
    for (const std::string& other : names) {
      if (other == own) entry.Error("name", "another context has the same name");
    }
    names.push_back(own);
    if (own == wanted) found = c, is_found = true;
  }
  RETURN_IF_ERROR(document.Finish());
  if (is_found || wanted.empty()) return found;
  const std::string nearest = NearestWord(wanted, names);
  return absl::NotFoundError(absl::StrCat(
      path, ": no context is called \"", wanted, "\", there are: ", absl::StrJoin(names, ", "),
      nearest.empty() ? "" : absl::StrCat(" (did you mean ", nearest, "?)")));
}

absl::Status UseClientContext(Env* env, int argc, const char* const* argv) {
  const std::string path = ContextsPath(), name = ContextAskedFor(argc, argv);
  if (path.empty() || !env->Exists(path)) {
    if (name.empty()) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat(
        "--context ", name, ": there is no file of contexts at ", path, " (TRITTER_CONFIG)"));
  }
  ASSIGN_OR_RETURN(const std::string text, env->ReadFile(path));
  ASSIGN_OR_RETURN(const ClientContext found, ParseContexts(text, path, name));
  const ClientSecurity& s = found.security;
  // A token in the environment goes before the context's, as every twin does.
  const bool has_token = !FromEnvironment("TRITTER_TOKEN").empty();
  const std::string values[] = {found.coordinator,
                                found.server,
                                s.tls_authority,
                                s.tls_certificate,
                                s.tls_key,
                                s.tls_server_name,
                                has_token ? "" : s.token_file,
                                s.insecure ? "true" : ""};
  static_assert(std::size(values) == std::size(kContextFlags));
  for (size_t i = 0; i < std::size(values); ++i) {
    if (!values[i].empty())
      setenv(EnvName(kContextFlags[i]).c_str(), values[i].c_str(), /*overwrite=*/0);
  }
  return absl::OkStatus();
}

void ForgetClientEnvironment() {
  for (const char* const flag : kContextFlags) unsetenv(EnvName(flag).c_str());
  unsetenv("TRITTER_TOKEN");
}

void AddClientSecurityFlags(CommandLine* app, std::string* context, ClientSecurity* s) {
  s->token = FromEnvironment("TRITTER_TOKEN");
  app->AddFlag("--context", context,
               "context of ~/.config/tritter/config.yaml (TRITTER_CONFIG): addresses, certificates "
               "and token; empty: its current one");
  app->AddFlag("--tls-ca", &s->tls_authority,
               "speak TLS; certificates (PEM) that sign the server's, or system");
  app->AddFlag("--tls-cert", &s->tls_certificate, "own certificate, of mutual TLS (PEM)");
  app->AddFlag("--tls-key", &s->tls_key, "private key of --tls-cert (PEM)");
  app->AddFlag("--tls-server-name", &s->tls_server_name,
               "name expected in the server's certificate; empty: the host of the address");
  app->AddFlag(
      "--token-file", &s->token_file,
      "file whose first line is the token to show (also: TRITTER_TOKEN, the token itself)");
  app->AddFlag("--insecure", &s->insecure, "send the token unencrypted beyond loopback too");
}

}  // namespace tritter
