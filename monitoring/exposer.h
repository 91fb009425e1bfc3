// /metrics and /healthz over HTTP, on a port of their own.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "monitoring/registry.h"

struct mg_connection;
struct mg_context;

namespace tritter {

struct ExposerOptions {
  std::string address = "127.0.0.1:0";  // host:port; port 0: any free one
  // OK: 200 with `text`; else 503 with the message. Called on a thread of the exposer, must not
  // block.
  std::function<absl::Status()> health = [] { return absl::OkStatus(); };
  std::function<std::string()> text = [] { return "ok"; };
};

// Serves from Start until it is destroyed, with threads of its own. The registry must outlive it.
class Exposer {
 public:
  // Errors: InvalidArgument (address), AlreadyExists (port in use), PermissionDenied (port below
  // 1024).
  static absl::StatusOr<std::unique_ptr<Exposer>> Start(const Registry* registry,
                                                        ExposerOptions options);
  ~Exposer();
  Exposer(const Exposer&) = delete;
  Exposer& operator=(const Exposer&) = delete;

  int port() const { return port_; }
  const std::string& address() const { return address_; }  // with the real port

 private:
  Exposer(const Registry* registry, ExposerOptions options)
      : registry_(registry), options_(std::move(options)) {}
  static int Handle(mg_connection* connection, void* self);

  const Registry* const registry_;
  const ExposerOptions options_;
  mg_context* context_ = nullptr;
  int port_ = 0;
  std::string address_;
};

}  // namespace tritter
