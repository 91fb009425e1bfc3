// Asks an inference server to load a model, over the Open Inference Protocol. gRPC stays in the
// .cc.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace tritter {

// RepositoryModelLoad at host:port; waits until the model takes requests, at most ten minutes.
// Errors: those of the server (ResourceExhausted: it does not fit beside what is loaded), and
// Unavailable, DeadlineExceeded.
absl::Status LoadModelOnServer(const std::string& server, const std::string& model);

}  // namespace tritter
