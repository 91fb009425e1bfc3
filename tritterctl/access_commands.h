// whoami, audit, token.
#pragma once

#include "access/client_security.h"
#include "tritterctl/command.h"

namespace tritter {

// `security` is read when a command runs: it outlives them.
void AddAccessCommands(CommandLine* app, CommandContext* context, const ClientSecurity* security);

}  // namespace tritter
