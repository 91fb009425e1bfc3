// Asks an inference server to load a model, over the Open Inference Protocol. gRPC stays in the
// .cc.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "access/client_security.h"

namespace tritter {

// RepositoryModelLoad at host:port; waits until the model takes requests, at most ten minutes.
// Errors: those of the server (ResourceExhausted: it does not fit beside what is loaded), and
// Unavailable, DeadlineExceeded, Unauthenticated and PermissionDenied (it takes the role operate).
// CheckClientSecurity and CheckServerAddress first.
absl::Status LoadModelOnServer(const ClientSecurity& security, const std::string& server,
                               const std::string& model);

}  // namespace tritter
