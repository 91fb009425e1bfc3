// inference.GRPCInferenceService, the Open Inference Protocol v2 over the model registry: messages
// to and from the engine's types. No decision is made here.
#pragma once

#include <atomic>

#include "access/rpc_guard_service.h"
#include "common/clock.h"
#include "inference/calls/call_limit.h"
#include "inference/calls/client_waits.h"
#include "inference/grpc_predict_v2.grpc.pb.h"
#include "inference/model_registry.h"

namespace tritter {

// Thread-safe. Registry, limit and waits must outlive it.
class PredictV2Service final : public inference::GRPCInferenceService::Service {
 public:
  // limit: of ModelInfer and ModelStreamInfer calls; one more is refused with RESOURCE_EXHAUSTED.
  // waits: of streams without a request, and of those whose answer is not read.
  // Whether server and models are live and ready everybody may ask, as of health.
  PredictV2Service(ModelRegistry* registry, CallLimit* limit, ClientWaits* waits, Clock* clock,
                   RpcGuard guard = {})
      : registry_(registry), limit_(limit), waits_(waits), clock_(clock), guard_(guard) {}

  grpc::Status ServerLive(grpc::ServerContext* context, const inference::ServerLiveRequest* request,
                          inference::ServerLiveResponse* response) override;
  grpc::Status ServerReady(grpc::ServerContext* context,
                           const inference::ServerReadyRequest* request,
                           inference::ServerReadyResponse* response) override;
  grpc::Status ModelReady(grpc::ServerContext* context, const inference::ModelReadyRequest* request,
                          inference::ModelReadyResponse* response) override;
  grpc::Status ServerMetadata(grpc::ServerContext* context,
                              const inference::ServerMetadataRequest* request,
                              inference::ServerMetadataResponse* response) override;
  grpc::Status ModelMetadata(grpc::ServerContext* context,
                             const inference::ModelMetadataRequest* request,
                             inference::ModelMetadataResponse* response) override;
  grpc::Status ModelInfer(grpc::ServerContext* context, const inference::ModelInferRequest* request,
                          inference::ModelInferResponse* response) override;
  grpc::Status ModelStreamInfer(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<inference::ModelStreamInferResponse, inference::ModelInferRequest>*
          stream) override;
  grpc::Status RepositoryIndex(grpc::ServerContext* context,
                               const inference::RepositoryIndexRequest* request,
                               inference::RepositoryIndexResponse* response) override;
  grpc::Status RepositoryModelLoad(grpc::ServerContext* context,
                                   const inference::RepositoryModelLoadRequest* request,
                                   inference::RepositoryModelLoadResponse* response) override;
  grpc::Status RepositoryModelUnload(grpc::ServerContext* context,
                                     const inference::RepositoryModelUnloadRequest* request,
                                     inference::RepositoryModelUnloadResponse* response) override;

  // From now on nothing is ready any more; what runs goes on, streams end with the request they are
  // at, and those that wait for one at once.
  void StartDraining();

 private:
  ModelRegistry* const registry_;
  CallLimit* const limit_;
  ClientWaits* const waits_;
  Clock* const clock_;
  const RpcGuard guard_;
  std::atomic<bool> draining_{false};
};

}  // namespace tritter
