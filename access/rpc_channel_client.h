// Channels of gRPC that show who calls.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <memory>
#include <string>

#include "access/client_security.h"

namespace tritter {

// Every call over it carries the token as it is then. Files are looked at every second, as on the
// server. CheckClientSecurity and CheckServerAddress first; `env` and `clock` outlive the channel.
std::shared_ptr<grpc::Channel> MakeRpcChannel(const std::string& address,
                                              const ClientSecurity& security,
                                              grpc::ChannelArguments arguments,
                                              Env* env = Env::Real(), Clock* clock = Clock::Real());

}  // namespace tritter
