#include "monitoring/exposer.h"

#include <civetweb.h>

#include <atomic>
#include <thread>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/net.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

void Reply(mg_connection* connection, int code, absl::string_view reason, absl::string_view type,
           absl::string_view body) {
  const std::string head = absl::StrCat("HTTP/1.1 ", code, " ", reason, "\r\nContent-Type: ", type,
                                        "\r\nContent-Length: ", body.size(),
                                        "\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  mg_write(connection, body.data(), body.size());
}

}  // namespace

int Exposer::Handle(mg_connection* connection, void* self) {
  const auto* exposer = static_cast<const Exposer*>(self);
  const mg_request_info* request = mg_get_request_info(connection);
  const absl::string_view method = request->request_method, uri = request->local_uri;
  constexpr absl::string_view kPlain = "text/plain; charset=utf-8";
  if (method != "GET" && method != "HEAD") {
    Reply(connection, 405, "Method Not Allowed", kPlain, "only GET\n");
  } else if (uri == "/metrics") {
    Reply(connection, 200, "OK", "text/plain; version=0.0.4; charset=utf-8",
          method == "GET" ? exposer->registry_->Text() : "");
  } else if (uri == "/healthz") {
    const absl::Status status = exposer->options_.health();
    Reply(
        connection, status.ok() ? 200 : 503, status.ok() ? "OK" : "Service Unavailable", kPlain,
        absl::StrCat(status.ok() ? exposer->options_.text() : std::string(status.message()), "\n"));
  } else {
    Reply(connection, 404, "Not Found", kPlain, "here are /metrics and /healthz\n");
  }
  return 1;  // handled, whatever the code was
}

absl::StatusOr<std::unique_ptr<Exposer>> Exposer::Start(const Registry* registry,
                                                        ExposerOptions options) {
  ASSIGN_OR_RETURN(HostPort address, ParseHostPort(options.address));
  if (address.host == "localhost") address.host = "127.0.0.1";  // civetweb takes addresses only
  RETURN_IF_ERROR(Annotate(CheckCanListen(address), "metrics"));
  auto exposer = absl::WrapUnique(new Exposer(registry, std::move(options)));

  mg_init_library(0);  // counts its users
  const std::string listen = FormatHostPort(address);
  const char* settings[] = {
      "listening_ports",   listen.c_str(), "num_threads", "2", "request_timeout_ms", "5000",
      "enable_keep_alive", "no",           nullptr};
  char text[256] = "";
  mg_init_data init = {};
  const mg_callbacks callbacks = {};
  init.callbacks = &callbacks;
  init.configuration_options = settings;
  mg_error_data error = {};
  error.text = text;
  error.text_buffer_size = sizeof text;
  exposer->context_ = mg_start2(&init, &error);
  if (exposer->context_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("metrics: cannot listen on ", listen, ": ", text[0] ? text : "unknown error"));
  }
  mg_server_port port = {};
  mg_get_server_ports(exposer->context_, 1, &port);
  exposer->port_ = port.port;
  exposer->address_ = FormatHostPort({address.host, port.port});
  mg_set_request_handler(exposer->context_, "/", &Exposer::Handle, exposer.get());
  return exposer;
}

Exposer::~Exposer() {
  if (context_ != nullptr) {
    // civetweb looks at its stop flag only every two seconds, or when somebody connects.
    std::atomic<bool> stopped{false};
    std::thread waker([&] {
      const absl::StatusOr<HostPort> address = ParseHostPort(address_);
      while (!stopped) {
        CanConnect(*address);
        Clock::Real()->Sleep(absl::Milliseconds(5));
      }
    });
    mg_stop(context_);  // waits for its threads
    stopped = true;
    waker.join();
  }
  mg_exit_library();
}

}  // namespace tritter
