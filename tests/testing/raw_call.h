// Any gRPC method, called with bytes: no generated stub, nothing of the answer is looked at.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace tritter {

// `method`: "/tritter.v1.RunService/ListRuns". Sends one message with these bytes, reads what comes
// until the call ends, and returns how it did: DEADLINE_EXCEEDED after `limit`, for streams that do
// not end by themselves.
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                     const std::string& bytes, absl::Duration limit);

}  // namespace tritter
