#include "inference/predict_v2_service.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/short_text.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "inference/calls/rpc_service.h"
#include "inference/generation_group.h"
#include "inference/predict_v2.h"

namespace tritter {
namespace {

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// One request at work. Members in the order of their lives: the model outlives its generations.
struct Prediction {
  ServedModelPtr model;
  PredictRequest request;
  GenerationGroup group;
};

absl::StatusOr<Prediction> StartPrediction(const ModelRegistry& registry,
                                           const inference::ModelInferRequest& request,
                                           absl::Duration time_left, const std::string& client) {
  Prediction prediction;
  ASSIGN_OR_RETURN(prediction.model, registry.Find(request.model_name(), request.model_version()));
  ASSIGN_OR_RETURN(prediction.request, ReadInferRequest(request));
  Engine* const engine = prediction.model->engine.get();
  std::vector<GenerateParams> generations;
  for (const std::string& text : prediction.request.texts) {
    GenerateParams params = prediction.request.params;
    ASSIGN_OR_RETURN(params.prompt, engine->tokenizer().EncodePrompt(text));
    params.max_tokens = prediction.request.max_tokens.value_or(
        DefaultMaxTokens(params.prompt.size(), engine->limits()));
    params.timeout = std::min(params.timeout, time_left);
    params.client = client;
    generations.push_back(std::move(params));
  }
  ASSIGN_OR_RETURN(prediction.group, GenerationGroup::Start(engine, std::move(generations)));
  return prediction;
}

// OK for an end that is an answer.
absl::Status EndStatus(const GenerateEvent& event) {
  switch (event.finish) {
    case FinishReason::kFailed:
      return event.error;
    case FinishReason::kCancelled:
      return absl::CancelledError("the generation was cancelled");
    case FinishReason::kDeadline:
      return absl::DeadlineExceededError("the deadline ended the generation");
    default:
      return absl::OkStatus();
  }
}

absl::Status OnlyRepository(const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("repository \"", name, "\" is not known; there is one, leave its name empty"));
}

using StreamPart = inference::ModelStreamInferResponse;

// All parts of one answer; false when nobody reads them any more.
bool WriteParts(const inference::ModelInferRequest& request, Prediction* prediction,
                const std::function<bool()>& gone, const std::function<bool(StreamPart)>& write) {
  GenerationGroup::Event event;
  bool alive = true;
  while (prediction->group.Next(gone, &event)) {
    if (!alive) continue;  // until the engine has let go
    StreamPart part;
    *part.mutable_infer_response() = MakeInferResponse(request, *prediction->model);
    const bool last = event.what.finish != FinishReason::kNone;
    if (const absl::Status end = EndStatus(event.what); !end.ok()) {
      part.set_error_message(std::string(end.message()));
    } else if (last || !event.what.text.empty()) {
      AddOutputs(prediction->request,
                 {{std::move(event.what.text), event.what.finish, event.what.usage}},
                 part.mutable_infer_response());
    } else {
      continue;  // a token whose text comes with the next
    }
    (*part.mutable_infer_response()->mutable_parameters())["triton_final_response"].set_bool_param(
        last);
    alive = write(std::move(part));
    if (!alive) prediction->group.Cancel();
  }
  return alive;
}

}  // namespace

void PredictV2Service::StartDraining() {
  draining_ = true;
  waits_->StartDraining();
}

grpc::Status PredictV2Service::ServerLive(grpc::ServerContext*, const inference::ServerLiveRequest*,
                                          inference::ServerLiveResponse* response) {
  response->set_live(true);
  return grpc::Status::OK;
}

grpc::Status PredictV2Service::ServerReady(grpc::ServerContext*,
                                           const inference::ServerReadyRequest*,
                                           inference::ServerReadyResponse* response) {
  response->set_ready(!draining_);
  return grpc::Status::OK;
}

grpc::Status PredictV2Service::ModelReady(grpc::ServerContext*,
                                          const inference::ModelReadyRequest* request,
                                          inference::ModelReadyResponse* response) {
  response->set_ready(!draining_ && registry_->Find(request->name(), request->version()).ok());
  return grpc::Status::OK;
}

grpc::Status PredictV2Service::ServerMetadata(grpc::ServerContext* context,
                                              const inference::ServerMetadataRequest*,
                                              inference::ServerMetadataResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "ServerMetadata"));
  response->set_name("tritter");
  response->set_version(kVersion);
  for (const char* extension : {"model_repository", "parameters"})
    response->add_extensions(extension);
  return grpc::Status::OK;
}

grpc::Status PredictV2Service::ModelMetadata(grpc::ServerContext* context,
                                             const inference::ModelMetadataRequest* request,
                                             inference::ModelMetadataResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "ModelMetadata"));
  const absl::StatusOr<ServedModelPtr> model = registry_->Find(request->name(), request->version());
  if (!model.ok()) return ToGrpc(model.status());
  *response = DescribeTensors(**model);
  return grpc::Status::OK;
}

grpc::Status PredictV2Service::ModelInfer(grpc::ServerContext* context,
                                          const inference::ModelInferRequest* request,
                                          inference::ModelInferResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "ModelInfer"));
  const CallLimit::Slot slot(limit_);
  if (!slot.status().ok()) return ToGrpc(slot.status());
  absl::StatusOr<Prediction> prediction =
      StartPrediction(*registry_, *request, TimeLeft(*context, clock_), context->peer());
  if (!prediction.ok()) return ToGrpc(prediction.status());
  std::vector<PredictedText> texts(prediction->group.size());
  absl::Status status;
  GenerationGroup::Event event;
  while (prediction->group.Next([context] { return context->IsCancelled(); }, &event)) {
    PredictedText& text = texts[event.index];
    text.text += event.what.text;
    text.finish = event.what.finish;
    text.usage = event.what.usage;
    if (const absl::Status end = EndStatus(event.what); status.ok() && !end.ok()) {
      status = end;
      prediction->group.Cancel();
    }
  }
  if (!status.ok()) return ToGrpc(status);
  *response = MakeInferResponse(*request, *prediction->model);
  AddOutputs(prediction->request, texts, response);
  return grpc::Status::OK;
}

grpc::Status PredictV2Service::ModelStreamInfer(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<StreamPart, inference::ModelInferRequest>* stream) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "ModelStreamInfer"));
  const CallLimit::Slot slot(limit_);
  if (!slot.status().ok()) return ToGrpc(slot.status());
  const auto gone = [context] { return context->IsCancelled(); };
  inference::ModelInferRequest request;
  const auto read = [&] {
    const ClientWaits::Wait wait(waits_, ClientWaits::For::kRequest, EndOf(context));
    return wait.allowed() && stream->Read(&request);
  };
  const auto write = [&](const StreamPart& part) {
    const ClientWaits::Wait wait(waits_, ClientWaits::For::kReading, EndOf(context));
    return stream->Write(part);
  };
  bool alive = true;
  while (alive && read()) {
    absl::StatusOr<Prediction> prediction =
        StartPrediction(*registry_, request, TimeLeft(*context, clock_), context->peer());
    if (prediction.ok() && prediction->group.size() != 1) {
      prediction = absl::InvalidArgumentError(
          absl::StrCat("text_input has ", prediction->group.size(),
                       " texts, a request of a stream has one; send them one by one"));
    }
    if (prediction.ok()) {
      alive = WriteParts(request, &*prediction, gone, write);
      continue;
    }
    StreamPart part;
    part.set_error_message(std::string(prediction.status().message()));
    part.mutable_infer_response()->set_id(request.id());
    part.mutable_infer_response()->set_model_name(request.model_name());
    alive = write(part);
  }
  return grpc::Status::OK;
}

grpc::Status PredictV2Service::RepositoryIndex(grpc::ServerContext* context,
                                               const inference::RepositoryIndexRequest* request,
                                               inference::RepositoryIndexResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "RepositoryIndex"));
  if (absl::Status known = OnlyRepository(request->repository_name()); !known.ok())
    return ToGrpc(known);
  for (const ModelEntry& entry : registry_->List()) {
    if (request->ready() && entry.state != ModelState::kReady) continue;
    auto* model = response->add_models();
    model->set_name(entry.name);
    if (entry.version > 0) model->set_version(absl::StrCat(entry.version));
    model->set_state(ModelStateName(entry.state));
    model->set_reason(entry.reason);
  }
  return grpc::Status::OK;
}

grpc::Status PredictV2Service::RepositoryModelLoad(
    grpc::ServerContext* context, const inference::RepositoryModelLoadRequest* request,
    inference::RepositoryModelLoadResponse*) {
  Caller caller;
  RETURN_IF_REFUSED(
      guard_.Admit(*context, Role::kOperate, "RepositoryModelLoad", nullptr, &caller));
  LogInfo("repository_call", {{"call", "RepositoryModelLoad"},
                              {"model", ShortText(request->model_name())},
                              {"caller", caller.name},
                              {"peer", caller.peer}});
  absl::Status status = OnlyRepository(request->repository_name());
  if (status.ok() && !request->parameters().empty()) {
    status = absl::InvalidArgumentError(
        absl::StrCat("parameter ", request->parameters().begin()->first,
                     " is not known; a model is loaded as it lies below --model-root"));
  }
  if (status.ok() && draining_) status = absl::UnavailableError("the server is going down");
  if (status.ok()) {
    status = registry_->LoadFromRoot(request->model_name(), [this] { return draining_.load(); });
  }
  if (absl::IsCancelled(status)) {  // by the server: a client that goes does not end a load
    status = absl::UnavailableError(absl::StrCat("the server is going down; ", status.message()));
  }
  return status.ok() ? grpc::Status::OK : ToGrpc(status);
}

grpc::Status PredictV2Service::RepositoryModelUnload(
    grpc::ServerContext* context, const inference::RepositoryModelUnloadRequest* request,
    inference::RepositoryModelUnloadResponse*) {
  Caller caller;
  RETURN_IF_REFUSED(
      guard_.Admit(*context, Role::kOperate, "RepositoryModelUnload", nullptr, &caller));
  LogInfo("repository_call", {{"call", "RepositoryModelUnload"},
                              {"model", ShortText(request->model_name())},
                              {"caller", caller.name},
                              {"peer", caller.peer}});
  absl::Status status = OnlyRepository(request->repository_name());
  for (const auto& [name, parameter] : request->parameters()) {
    if (status.ok() && name != "unload_dependents")
      status = absl::InvalidArgumentError(absl::StrCat("parameter ", name, " is not known"));
  }
  if (status.ok()) status = registry_->UnloadFromRoot(request->model_name());
  return status.ok() ? grpc::Status::OK : ToGrpc(status);
}

}  // namespace tritter
