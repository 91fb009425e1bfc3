// The OpenAI-compatible API and what a load balancer asks, as routes of an HttpServer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "access/access_control.h"
#include "common/clock.h"
#include "inference/http/http_server.h"
#include "inference/model_registry.h"

namespace tritter {

struct HttpApiOptions {
  absl::Duration time_limit = absl::Minutes(10);  // of one request
  std::function<uint64_t()> fresh_seed;           // for requests that name none, and for ids
  std::function<std::string()> metrics_text;      // /metrics
  Clock* clock = Clock::Real();
  AccessControl* access = nullptr;  // outlives the API; null: everybody may do everything
};

// Thread-safe. The registry must outlive it, and it the server that has its routes.
class HttpApi {
 public:
  HttpApi(const ModelRegistry* registry, HttpApiOptions options)
      : registry_(registry), options_(std::move(options)) {}

  // /v1/models, /v1/models/NAME, /v1/completions, /v1/chat/completions, /v1/embeddings: for the
  // role infer; /metrics: read; /health: for everybody.
  std::vector<HttpRoute> Routes();
  // Errors of the server itself in the shape of the API's.
  static HttpAnswer ErrorBody(int code, const std::string& message);
  // From now on new generations are answered 503, and so is /health; what runs goes on.
  void StartDraining() { draining_ = true; }

 private:
  HttpRoute Route(const char* method, const char* pattern, Role needed, HttpHandler handler) const;
  HttpAnswer Models() const;
  HttpAnswer Model(const std::string& name) const;
  HttpAnswer Generate(const HttpRequest& http, bool chat) const;
  HttpAnswer Embed(const HttpRequest& http) const;
  HttpAnswer Health() const;

  const ModelRegistry* const registry_;
  const HttpApiOptions options_;
  std::atomic<bool> draining_{false};
};

}  // namespace tritter
