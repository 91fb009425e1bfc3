// What the gRPC services do alike with a call.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/time/time.h"
#include "common/clock.h"
#include "inference/calls/client_waits.h"

namespace tritter {

// Until the client's deadline; infinite without one.
absl::Duration TimeLeft(const grpc::ServerContext& context, Clock* clock);
// Ends the call: its client gets the status, and what its handler reads and writes fails. The
// context must outlive the wait that this is for.
ClientWaits::End EndOf(grpc::ServerContext* context);

}  // namespace tritter
