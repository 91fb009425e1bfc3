// Where tritterctl calls and as whom: flags, their twins TRITTER_…, and named contexts in a file:
//
//   current: lab                # used when neither --context nor TRITTER_CONTEXT is given
//   contexts:
//     - name: lab
//       coordinator: gpu1.example.org:7070    # of several: gpu1:7070,gpu2:7070
//       server: gpu1.example.org:8080
//       tls_ca: /etc/tritter/ca.pem       # or system
//       token_file: /home/alice/.tritter-token
//
// A path that is not absolute is one beside the file.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "access/client_security.h"
#include "common/env.h"
#include "common/flags.h"

namespace tritter {

struct ClientContext {
  std::string coordinator, server;  // empty: as without a context
  ClientSecurity security;
};

// The context `name` of the file, or its current one; an empty one when there is none.
// InvalidArgument with file:line:column, NotFound naming those that there are.
absl::StatusOr<ClientContext> ParseContexts(absl::string_view text, const std::string& path,
                                            const std::string& name);

// Before flags are read: what the context says goes into the environment as the flags' twins, where
// they are not set already. Errors: as above, and those of reading the file.
absl::Status UseClientContext(Env* env, int argc, const char* const* argv);
// After flags are read: the twins are gone, set here or by the caller. They are meant for no
// process that this one starts: a server has flags of the same names.
void ForgetClientEnvironment();
// --context, --tls-ca, --tls-cert, --tls-key, --tls-server-name, --token-file, --insecure; and the
// token that is in TRITTER_TOKEN.
void AddClientSecurityFlags(CommandLine* app, std::string* context, ClientSecurity* security);

}  // namespace tritter
