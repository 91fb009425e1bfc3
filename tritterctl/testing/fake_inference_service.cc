#include "tritterctl/testing/fake_inference_service.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/mutex.h"

namespace tritter {

FakeInference::FakeInference() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
}

FakeInference::~FakeInference() { server_->Shutdown(std::chrono::system_clock::now()); }

grpc::Status FakeInference::Generate(grpc::ServerContext* context,
                                     const v1::GenerateRequest* request,
                                     grpc::ServerWriter<v1::GenerateResponse>* writer) {
  if (request->model() == "missing")
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no model 'missing'");
  if (request->max_tokens() > 1000)
    return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "context exceeded");
  if (absl::StrContains(request->text(), "hang")) {
    ++hanging_;
    Mutex mu;
    CondVar never;
    MutexLock lock(&mu);
    while (!context->IsCancelled()) never.WaitFor(&mu, absl::Milliseconds(10));
    return grpc::Status::CANCELLED;
  }
  int words = 0;
  for (; request->has_tokens() && words < request->max_tokens(); ++words) {
    v1::GenerateResponse part;
    part.add_token_ids(words);
    writer->Write(part);
  }
  std::string text = request->text();
  for (const v1::ChatMessage& m : request->chat().messages())
    absl::StrAppend(&text, m.role(), "=", m.content(), " ");
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    v1::GenerateResponse part;
    part.set_text(absl::StrCat(word, ";"));
    part.add_token_ids(++words);
    writer->Write(part);
  }
  v1::GenerateResponse last;
  last.set_finish_reason(v1::FINISH_REASON_STOP);
  last.mutable_usage()->set_generated_tokens(words);
  last.mutable_usage()->set_prompt_tokens(request->tokens().ids_size());
  writer->Write(last);
  return grpc::Status::OK;
}

grpc::Status FakeInference::GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                                     v1::ModelInfo* response) {
  if (request->model() == "missing")
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no model 'missing'");
  response->set_name("fake");
  response->set_vocabulary(264);
  response->set_chat(request->model() == "chatty");
  return grpc::Status::OK;
}

grpc::Status FakeInference::Score(grpc::ServerContext*, const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) {
  for (size_t i = 0; i < request->text().size(); ++i) response->add_tokens()->set_logprob(-1);
  response->set_total_logprob(-static_cast<double>(request->text().size()));
  return grpc::Status::OK;
}

}  // namespace tritter
