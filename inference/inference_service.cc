#include "inference/inference_service.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/status_macros.h"
#include "inference/calls/rpc_service.h"
#include "tritter/v1/errors.pb.h"

namespace tritter {
namespace {

enum class Asked { kScore, kEmbed, kOther };

v1::ErrorDetail DetailOf(const absl::Status& status, Asked asked) {
  const bool generate = asked == Asked::kOther;
  const std::string what = asked == Asked::kEmbed ? "embed" : "score";
  v1::ErrorDetail detail;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      detail.set_reason(v1::ErrorDetail::UNKNOWN_MODEL);
      detail.set_field("model");
      detail.set_hint(
          "leave `model` empty for the only model served, or ask RepositoryIndex for the names");
      break;
    case absl::StatusCode::kResourceExhausted:
      detail.set_reason(v1::ErrorDetail::QUEUE_FULL);
      detail.set_hint(generate ? "try again later, or ask for fewer tokens"
                               : absl::StrCat("try again later, or ", what, " a shorter text"));
      break;
    case absl::StatusCode::kOutOfRange:
      detail.set_reason(v1::ErrorDetail::CONTEXT_EXCEEDED);
      detail.set_field(generate ? "max_tokens" : asked == Asked::kEmbed ? "inputs" : "input");
      detail.set_hint(generate ? "shorten the prompt or lower max_tokens"
                               : absl::StrCat(what, " a shorter text, or this one in parts"));
      break;
    default:
      break;
  }
  return detail;
}

grpc::Status ToGrpc(const absl::Status& status, Asked asked = Asked::kOther) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      DetailOf(status, asked).SerializeAsString());
}

absl::StatusOr<std::vector<int32_t>> ChatPrompt(const v1::Conversation& chat,
                                                const ServedModel& model, absl::Time now) {
  if (chat.messages().empty())
    return absl::InvalidArgumentError("chat.messages is empty; give at least one message");
  std::vector<ChatMessage> messages;
  for (int i = 0; i < chat.messages_size(); ++i) {
    const v1::ChatMessage& m = chat.messages(i);
    if (m.role() != "system" && m.role() != "user" && m.role() != "assistant") {
      return absl::InvalidArgumentError(absl::StrCat("chat.messages[", i, "].role is \"",
                                                     absl::CHexEscape(m.role()),
                                                     "\", allowed are system, user and assistant"));
    }
    messages.push_back({m.role(), m.content()});
  }
  return model.chat.Encode(messages, nullptr, now, model.engine->tokenizer());
}

absl::StatusOr<GenerateParams> ToParams(const v1::GenerateRequest& r, const ServedModel& model,
                                        absl::Time now) {
  const Engine& engine = *model.engine;
  GenerateParams p;
  if (r.has_text()) {
    ASSIGN_OR_RETURN(p.prompt, engine.tokenizer().EncodePrompt(r.text()));
  } else if (r.has_tokens()) {
    p.prompt.assign(r.tokens().ids().begin(), r.tokens().ids().end());
  } else if (r.has_chat()) {
    ASSIGN_OR_RETURN(p.prompt, ChatPrompt(r.chat(), model, now));
  } else {
    return absl::InvalidArgumentError("prompt is missing; set `text`, `tokens` or `chat`");
  }
  if (r.max_tokens() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens is ", r.max_tokens(), ", allowed are 0 (the default) and more"));
  }
  p.max_tokens = r.max_tokens();
  if (p.max_tokens == 0) p.max_tokens = DefaultMaxTokens(p.prompt.size(), engine.limits());
  p.sampling.temperature = r.sampling().temperature();
  p.sampling.top_p = r.sampling().top_p() == 0 ? 1 : r.sampling().top_p();
  p.sampling.top_k = r.sampling().top_k();
  p.sampling.min_p = r.sampling().min_p();
  p.sampling.seed = r.sampling().seed();
  p.sampling.repetition_penalty =
      r.sampling().repetition_penalty() == 0 ? 1 : r.sampling().repetition_penalty();
  p.sampling.presence_penalty = r.sampling().presence_penalty();
  p.sampling.frequency_penalty = r.sampling().frequency_penalty();
  for (const auto& [id, bias] : r.sampling().logit_bias())
    p.sampling.logit_bias.push_back({id, bias});
  p.stop.assign(r.stop().begin(), r.stop().end());
  p.stop_ids.assign(r.stop_ids().begin(), r.stop_ids().end());
  p.ignore_eos = r.ignore_eos();
  if (r.has_logprobs()) p.logprobs = r.logprobs();
  if (r.json_object()) p.format = OutputFormat::kJsonObject;
  if (r.has_json_schema()) {
    p.format = OutputFormat::kJsonSchema;
    p.json_schema = r.json_schema();
  }
  return p;
}

absl::StatusOr<EmbedParams> ToParams(const v1::EmbedRequest& r, const Engine& engine) {
  EmbedParams p;
  for (int i = 0; i < r.inputs_size(); ++i) {
    const v1::EmbedInput& input = r.inputs(i);
    if (input.has_text()) {
      absl::StatusOr<std::vector<int32_t>> ids = engine.tokenizer().EncodePrompt(input.text());
      RETURN_IF_ERROR(Annotate(ids.status(), absl::StrCat("inputs[", i, "]")));
      p.inputs.push_back(*std::move(ids));
    } else if (input.has_tokens()) {
      p.inputs.emplace_back(input.tokens().ids().begin(), input.tokens().ids().end());
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("inputs[", i, "] has nothing in it; set `text` or `tokens`"));
    }
  }
  switch (r.pooling()) {
    case v1::POOLING_UNSPECIFIED:
    case v1::POOLING_MEAN:
      p.pooling = EmbedParams::Pooling::kMean;
      break;
    case v1::POOLING_LAST:
      p.pooling = EmbedParams::Pooling::kLast;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("pooling is ", static_cast<int>(r.pooling()),
                                                     ", known are POOLING_MEAN and POOLING_LAST"));
  }
  p.normalise = r.normalise();
  return p;
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return v1::FINISH_REASON_UNSPECIFIED;
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case FinishReason::kDeadline:
      return v1::FINISH_REASON_DEADLINE;
    case FinishReason::kFailed:  // told by the call's status
      break;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

void ToProto(const PositionScore& score, v1::ScoredToken* token) {
  token->set_id(score.id);
  token->set_logprob(score.logprob);
  token->set_logit_stddev(score.logit_stddev);
  for (const Candidate& c : score.top) {
    v1::Candidate* candidate = token->add_top();
    candidate->set_id(c.id);
    candidate->set_logit(c.logit);
    candidate->set_logprob(c.logprob);
  }
}

v1::GenerateResponse ToProto(const GenerateEvent& event) {
  v1::GenerateResponse response;
  response.set_text(event.text);
  for (int32_t id : event.tokens) response.add_token_ids(id);
  for (const PositionScore& s : event.logprobs) ToProto(s, response.add_logprobs());
  if (event.finish == FinishReason::kNone) return response;
  response.set_finish_reason(ToProto(event.finish));
  v1::Usage* usage = response.mutable_usage();
  usage->set_prompt_tokens(static_cast<int32_t>(event.usage.prompt_tokens));
  usage->set_cached_prompt_tokens(static_cast<int32_t>(event.usage.cached_prompt_tokens));
  usage->set_generated_tokens(static_cast<int32_t>(event.usage.generated_tokens));
  usage->set_queue_seconds(absl::ToDoubleSeconds(event.usage.queued));
  usage->set_prefill_seconds(absl::ToDoubleSeconds(event.usage.prefill));
  usage->set_decode_seconds(absl::ToDoubleSeconds(event.usage.decode));
  return response;
}

}  // namespace

grpc::Status InferenceRpcService::Generate(grpc::ServerContext* context,
                                           const v1::GenerateRequest* request,
                                           grpc::ServerWriter<v1::GenerateResponse>* writer) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "Generate"));
  const CallLimit::Slot slot(limit_);
  if (!slot.status().ok()) return ToGrpc(slot.status());
  const absl::StatusOr<ServedModelPtr> model = registry_->Find(request->model());
  if (!model.ok()) return ToGrpc(model.status());
  absl::StatusOr<GenerateParams> params = ToParams(*request, **model, clock_->Now());
  if (!params.ok()) return ToGrpc(params.status());
  params->timeout = TimeLeft(*context, clock_);
  params->client = context->peer();
  absl::StatusOr<std::unique_ptr<Generation>> generation =
      (*model)->engine->Generate(*std::move(params));
  if (!generation.ok()) return ToGrpc(generation.status());

  const auto write = [&](const v1::GenerateResponse& response) {
    const ClientWaits::Wait wait(waits_, ClientWaits::For::kReading, EndOf(context));
    return writer->Write(response);
  };
  GenerateEvent event;
  for (;;) {
    if (!(*generation)->Next(kCancelPoll, &event)) {
      if (context->IsCancelled()) (*generation)->Cancel();  // goes on until the engine has let go
      continue;
    }
    if (!write(ToProto(event))) (*generation)->Cancel();
    if (event.finish == FinishReason::kCancelled)
      return ToGrpc(absl::CancelledError("the generation was cancelled"));
    if (event.finish == FinishReason::kDeadline)
      return ToGrpc(absl::DeadlineExceededError("the deadline ended the generation"));
    if (event.finish == FinishReason::kFailed) return ToGrpc(event.error);
    if (event.finish != FinishReason::kNone) return grpc::Status::OK;
  }
}

grpc::Status InferenceRpcService::Tokenize(grpc::ServerContext* context,
                                           const v1::TokenizeRequest* request,
                                           v1::TokenizeResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "Tokenize"));
  const CallLimit::Slot slot(limit_);
  if (!slot.status().ok()) return ToGrpc(slot.status());
  const absl::StatusOr<ServedModelPtr> model = registry_->Find(request->model());
  if (!model.ok()) return ToGrpc(model.status());
  const Tokenizer& tokenizer = (*model)->engine->tokenizer();
  const absl::StatusOr<std::vector<int32_t>> ids = request->add_bos()
                                                       ? tokenizer.EncodePrompt(request->text())
                                                       : tokenizer.Encode(request->text());
  if (!ids.ok()) return ToGrpc(ids.status());
  response->mutable_ids()->Add(ids->begin(), ids->end());
  response->set_tokenizer_hash(tokenizer.hash());
  return grpc::Status::OK;
}

grpc::Status InferenceRpcService::Score(grpc::ServerContext* context,
                                        const v1::ScoreRequest* request,
                                        v1::ScoreResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "Score"));
  const CallLimit::Slot slot(limit_);
  if (!slot.status().ok()) return ToGrpc(slot.status(), Asked::kScore);
  const absl::StatusOr<ServedModelPtr> model = registry_->Find(request->model());
  if (!model.ok()) return ToGrpc(model.status());
  Engine* const engine = (*model)->engine.get();
  ScoreParams params;
  if (request->has_text()) {
    absl::StatusOr<std::vector<int32_t>> ids = engine->tokenizer().EncodePrompt(request->text());
    if (!ids.ok()) return ToGrpc(ids.status(), Asked::kScore);
    params.tokens = *std::move(ids);
  }
  if (request->has_tokens())
    params.tokens.assign(request->tokens().ids().begin(), request->tokens().ids().end());
  params.top = request->top();
  params.timeout = TimeLeft(*context, clock_);
  params.client = context->peer();
  const auto scores =
      engine->Score(std::move(params), [context] { return context->IsCancelled(); });
  if (!scores.ok()) return ToGrpc(scores.status(), Asked::kScore);
  double total = 0;
  for (const PositionScore& s : *scores) {
    ToProto(s, response->add_tokens());
    total += s.logprob;
  }
  response->set_total_logprob(total);
  return grpc::Status::OK;
}

grpc::Status InferenceRpcService::Embed(grpc::ServerContext* context,
                                        const v1::EmbedRequest* request,
                                        v1::EmbedResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "Embed"));
  const CallLimit::Slot slot(limit_);
  if (!slot.status().ok()) return ToGrpc(slot.status(), Asked::kEmbed);
  const absl::StatusOr<ServedModelPtr> model = registry_->Find(request->model());
  if (!model.ok()) return ToGrpc(model.status());
  Engine* const engine = (*model)->engine.get();
  absl::StatusOr<EmbedParams> params = ToParams(*request, *engine);
  if (!params.ok()) return ToGrpc(params.status());
  params->timeout = TimeLeft(*context, clock_);
  params->client = context->peer();
  const absl::StatusOr<Embeddings> embeddings =
      engine->Embed(*std::move(params), [context] { return context->IsCancelled(); });
  if (!embeddings.ok()) return ToGrpc(embeddings.status(), Asked::kEmbed);
  for (const std::vector<float>& v : embeddings->vectors)
    response->add_embeddings()->mutable_values()->Assign(v.begin(), v.end());
  response->set_dimensions(static_cast<int32_t>(engine->model().config().hidden));
  response->set_prompt_tokens(static_cast<int32_t>(embeddings->prompt_tokens));
  return grpc::Status::OK;
}

grpc::Status InferenceRpcService::GetModel(grpc::ServerContext* context,
                                           const v1::GetModelRequest* request,
                                           v1::ModelInfo* info) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kInfer, "GetModel"));
  const absl::StatusOr<ServedModelPtr> model = registry_->Find(request->model());
  if (!model.ok()) return ToGrpc(model.status());
  const Engine& engine = *(*model)->engine;
  const ModelConfig& config = engine.model().config();
  const PackedModelFile& file = engine.model().file();
  info->set_name((*model)->name);
  info->set_family(FamilyName(config.family));
  info->set_path((*model)->path);
  info->set_parameters(ParameterCount(config));
  info->set_file_bytes(static_cast<int64_t>(file.file_bytes()));
  info->set_context(static_cast<int32_t>(config.context));
  info->set_vocabulary(static_cast<int32_t>(config.vocab));
  info->set_tokenizer_hash(file.tokenizer_hash());
  info->set_kernel(engine.kernel_name());
  info->set_run_id(file.provenance().run_id);
  info->set_step(file.provenance().step);
  info->set_config_yaml(ModelConfigToYaml(config, 0));
  info->set_chat((*model)->chat.status().ok());
  return grpc::Status::OK;
}

}  // namespace tritter
