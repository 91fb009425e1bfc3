// The TCPStore through which the ranks of an epoch find each other. Internal to the collective
// (LibTorch types).
#pragma once

#include <string>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/collective.h"

namespace tritter {

// `rendezvous` is one of OpenRendezvous.
absl::StatusOr<c10::intrusive_ptr<c10d::Store>> StoreOf(Rendezvous* rendezvous);
// Errors: InvalidArgument (not host:port), Unavailable (nobody listens there until the timeout).
absl::StatusOr<c10::intrusive_ptr<c10d::Store>> ConnectStore(const std::string& address,
                                                             absl::Duration timeout);

}  // namespace tritter
