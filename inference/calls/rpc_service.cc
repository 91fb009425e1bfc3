#include "inference/calls/rpc_service.h"

#include <grpc/grpc.h>

#include <chrono>
#include <string>

namespace tritter {

absl::Duration TimeLeft(const grpc::ServerContext& context, Clock* clock) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteDuration();
  return absl::FromChrono(deadline) - clock->Now();
}

ClientWaits::End EndOf(grpc::ServerContext* context) {
  // As ServerContext::TryCancel, which cannot say why.
  return [context](const absl::Status& why) {
    grpc_call_cancel_with_status(context->c_call(), static_cast<grpc_status_code>(why.code()),
                                 std::string(why.message()).c_str(), nullptr);
  };
}

}  // namespace tritter
