#include "inference/http/http_server.h"

#include <httplib.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <regex>
#include <system_error>
#include <thread>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/mutex.h"
#include "common/net.h"
#include "common/status_macros.h"
#include "inference/http/http_connection.h"

namespace tritter {
namespace {

constexpr int kBacklog = 512;  // httplib's own is 5
constexpr absl::Duration kLinger = absl::Milliseconds(500);

// The connection that this thread serves: httplib's handlers do not get to see it.
thread_local HttpConnection* current = nullptr;
// Set while the accepting thread answers a connection that is one too many.
thread_local bool refusing = false;

const char* ReasonPhrase(int code) {
  switch (code) {
    case 400:
      return "Bad Request";
    case 408:
      return "Request Timeout";
    case 414:
      return "URI Too Long";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

// A thread for each connection, up to a limit; beyond it the accepting thread refuses.
class ConnectionThreads final : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(int limit) : limit_(limit) {}

  void enqueue(std::function<void()> serve) override {
    {
      MutexLock lock(&mu_);
      if (running_ < limit_) {
        ++running_;
        try {
          std::thread([this, serve] {
            serve();
            MutexLock done(&mu_);
            if (--running_ == 0) idle_.NotifyAll();
          }).detach();
          return;
        } catch (const std::system_error& e) {  // the process may have no more threads
          --running_;
          LogWarning("http_no_thread", {{"error", e.what()}});
        }
      }
    }
    refusing = true;
    serve();
    refusing = false;
  }
  void shutdown() override {
    MutexLock lock(&mu_);
    while (running_ > 0) idle_.Wait(&mu_);
  }

 private:
  const int limit_;
  Mutex mu_;
  CondVar idle_;
  int running_ GUARDED_BY(mu_) = 0;
};

}  // namespace

struct HttpServer::Impl final : public httplib::Server {
  Impl(HttpServerOptions o, std::vector<HttpRoute> r, HttpErrorBody e)
      : options(std::move(o)), routes(std::move(r)), error_body(std::move(e)) {}

  void Configure();
  int Bind(const HostPort& at);
  void Serve(const HttpRoute& route, const httplib::Request& in, httplib::Response& out);
  void ReadBody(const httplib::Request& in, httplib::Response& out,
                const httplib::ContentReader& reader, const HttpRoute& route);
  void Put(HttpAnswer answer, httplib::Response& out);
  bool process_and_close_socket(socket_t sock) override;
  void ServeConnection(HttpConnection* connection);
  void SendError(HttpConnection* connection, int code, const std::string& message);

  const HttpServerOptions options;
  const std::vector<HttpRoute> routes;
  const HttpErrorBody error_body;
  std::vector<std::regex> patterns;  // of the routes
  std::thread acceptor;
  std::atomic<bool> draining{false}, stopping{false};
  mutable Mutex mu;
  CondVar idle;
  int at_work GUARDED_BY(mu) = 0;
};

void HttpServer::Impl::Put(HttpAnswer answer, httplib::Response& out) {
  out.status = answer.code;
  for (const auto& [name, value] : answer.headers) out.set_header(name, value);
  if (answer.stream == nullptr) {
    out.set_content(answer.body, answer.type);
    return;
  }
  out.set_chunked_content_provider(
      answer.type, [stream = std::move(answer.stream)](size_t, httplib::DataSink& sink) {
        bool alive = true;
        stream([&](absl::string_view chunk) {
          alive = alive && (chunk.empty() || sink.write(chunk.data(), chunk.size()));
          return alive;
        });
        if (alive) sink.done();
        return alive;
      });
}

void HttpServer::Impl::Serve(const HttpRoute& route, const httplib::Request& in,
                             httplib::Response& out) {
  HttpRequest request;
  request.method = in.method;
  request.path = in.path;
  for (size_t i = 1; i < in.matches.size(); ++i) request.captures.push_back(in.matches[i]);
  request.body = in.body;
  request.peer = current->PeerAddress();
  request.authorization = in.get_header_value("Authorization");
  request.certificate_names = current->CertificateNames();
  request.client_gone = [connection = current] { return connection->ClientGone(); };
  Put(route.handler(request), out);
}

void HttpServer::Impl::ReadBody(const httplib::Request& in, httplib::Response& out,
                                const httplib::ContentReader& reader, const HttpRoute& route) {
  httplib::Request whole = in;
  bool too_large = false;
  const std::string type = in.get_header_value("Content-Type");
  const auto fail = [&](int code, const std::string& message) {
    current->Spoil();
    out.set_header("Connection", "close");
    Put(error_body(code, message), out);
  };
  // httplib has readers of its own for forms, which these routes do not take.
  if (absl::StartsWithIgnoreCase(type, "multipart/")) {
    return fail(415, absl::StrCat("the body is ", type, ", this path takes application/json"));
  }
  const bool read = reader([&](const char* data, size_t size) {
    too_large = size > options.max_body_bytes - whole.body.size();
    if (!too_large) whole.body.append(data, size);
    return !too_large;
  });
  if (too_large || out.status == 413) {
    return fail(413,
                absl::StrCat("the body is larger than ", options.max_body_bytes, " bytes allowed"));
  }
  if (!read && current->timed_out()) {
    return fail(408, absl::StrCat("the body did not arrive within ",
                                  absl::FormatDuration(options.body_timeout)));
  }
  if (!read) return fail(400, "the body ended early or its encoding is broken");
  Serve(route, whole, out);
}

void HttpServer::Impl::Configure() {
  new_task_queue = [this] { return new ConnectionThreads(options.max_connections); };
  // Not httplib's default, which would share the port with another process.
  set_socket_options([](socket_t sock) {
    const int yes = 1;
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  set_tcp_nodelay(true);
  set_payload_max_length(options.max_body_bytes);
  set_keep_alive_max_count(static_cast<size_t>(options.max_requests_per_connection));
  set_keep_alive_timeout(absl::ToInt64Seconds(options.idle_timeout));
  for (const HttpRoute& route : routes) {
    patterns.emplace_back(route.pattern);
    if (route.method == "GET") {
      Get(route.pattern, [this, &route](const httplib::Request& in, httplib::Response& out) {
        Serve(route, in, out);
      });
    } else {
      Post(route.pattern, [this, &route](const httplib::Request& in, httplib::Response& out,
                                         const httplib::ContentReader& reader) {
        ReadBody(in, out, reader, route);
      });
    }
  }
  set_pre_routing_handler([this](const httplib::Request& in, httplib::Response& out) {
    std::string allowed;
    for (size_t i = 0; i < routes.size(); ++i) {
      const HttpRoute& route = routes[i];
      if (!std::regex_match(in.path, patterns[i])) continue;
      if (route.method == in.method || (route.method == "GET" && in.method == "HEAD"))
        return HandlerResponse::Unhandled;
      absl::StrAppend(&allowed, allowed.empty() ? "" : ", ", route.method);
    }
    current->Spoil();  // its body, if it has one, is not read
    out.set_header("Connection", "close");
    if (!allowed.empty()) {
      out.set_header("Allow", allowed);
      Put(error_body(405, absl::StrCat(in.method, " is not possible here, ", allowed, " is")), out);
    } else {
      Put(error_body(404, "there is nothing at this path"), out);
    }
    return HandlerResponse::Handled;
  });
  set_error_handler([this](const httplib::Request&, httplib::Response& out) {
    if (!out.body.empty()) return;  // an answer of ours
    current->Spoil();
    out.set_header("Connection", "close");
    Put(error_body(out.status, "the request is not understood"), out);
  });
  set_exception_handler(
      [this](const httplib::Request& in, httplib::Response& out, std::exception_ptr thrown) {
        std::string what = "unknown";
        try {
          std::rethrow_exception(thrown);
        } catch (const std::exception& e) {
          what = e.what();
        } catch (...) {
        }
        LogError("http_handler_failed", {{"path", in.path}, {"error", what}});
        current->Spoil();
        Put(error_body(500, "the server failed at this request; its log says why"), out);
      });
}

void HttpServer::Impl::SendError(HttpConnection* connection, int code, const std::string& message) {
  const HttpAnswer answer = error_body(code, message);
  connection->SendNow(absl::StrCat(
      "HTTP/1.1 ", code, " ", ReasonPhrase(code), "\r\nContent-Type: ", answer.type,
      "\r\nContent-Length: ", answer.body.size(), "\r\nConnection: close\r\n\r\n", answer.body));
}

void HttpServer::Impl::ServeConnection(HttpConnection* connection) {
  for (int i = 0; i < options.max_requests_per_connection; ++i) {
    if (!connection->AwaitRequest(draining)) return;
    switch (connection->ReadHead()) {
      case HttpConnection::Head::kOk:
        break;
      case HttpConnection::Head::kClosed:
        return;
      case HttpConnection::Head::kTooLarge:
        return SendError(connection, 431,
                         absl::StrCat("request line and headers are larger than ",
                                      options.max_head_bytes, " bytes allowed"));
      case HttpConnection::Head::kPathTooLong:
        return SendError(
            connection, 414,
            absl::StrCat("the path is longer than ", options.max_path_bytes, " bytes allowed"));
      case HttpConnection::Head::kTimedOut:
        return SendError(connection, 408,
                         absl::StrCat("the headers did not arrive within ",
                                      absl::FormatDuration(options.head_timeout)));
    }
    {
      MutexLock lock(&mu);
      ++at_work;
    }
    bool closed = false;
    const bool last = draining || i + 1 == options.max_requests_per_connection;
    const bool written = process_request(*connection, last, closed,
                                         [&](httplib::Request&) { connection->BeginBody(); });
    {
      MutexLock lock(&mu);
      if (--at_work == 0) idle.NotifyAll();
    }
    if (!written || closed || last || connection->spoilt()) return;
  }
}

bool HttpServer::Impl::process_and_close_socket(socket_t sock) {
  const int yes = 1;
  setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  HttpConnection connection(sock, &options, &stopping,
                            options.tls == nullptr ? nullptr : options.tls->Accept(sock));
  if (refusing && options.tls != nullptr) {
    connection.Finish(absl::ZeroDuration());  // a handshake would keep the others waiting
  } else if (refusing) {
    SendError(&connection, 503,
              absl::StrCat(options.max_connections,
                           " connections are open, which is the limit; try again later"));
    connection.Finish(absl::ZeroDuration());
  } else {
    current = &connection;
    try {
      if (connection.Handshake()) ServeConnection(&connection);
    } catch (const std::exception& e) {  // of httplib, outside its handlers
      LogError("http_connection_failed", {{"error", e.what()}});
    }
    current = nullptr;
    connection.Finish(kLinger);
  }
  close(sock);
  return true;
}

int HttpServer::Impl::Bind(const HostPort& at) {
  const int port = at.port == 0                     ? bind_to_any_port(at.host)
                   : bind_to_port(at.host, at.port) ? at.port
                                                    : -1;
  if (port > 0) ::listen(svr_sock_, kBacklog);
  return port;
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options,
                                                              std::vector<HttpRoute> routes,
                                                              HttpErrorBody error_body) {
  ASSIGN_OR_RETURN(HostPort at, ParseHostPort(options.address));
  RETURN_IF_ERROR(CheckCanListen(at));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(routes), std::move(error_body));
  impl->Configure();
  at.port = impl->Bind(at);
  if (at.port <= 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", impl->options.address,
                                               "; is another process using the port?"));
  }
  impl->acceptor = std::thread([server = impl.get()] { server->listen_after_bind(); });
  while (!impl->is_running()) std::this_thread::yield();  // or stop() would have no effect
  return absl::WrapUnique(new HttpServer(std::move(impl), FormatHostPort(at)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

HttpServer::~HttpServer() {
  impl_->draining = impl_->stopping = true;
  impl_->stop();
  impl_->acceptor.join();  // and with it every connection's thread
}

bool HttpServer::Drain(absl::Duration grace) {
  impl_->draining = true;
  const absl::Duration deadline = Clock::Real()->Monotonic() + grace;
  MutexLock lock(&impl_->mu);
  while (impl_->at_work > 0) {
    const absl::Duration left = deadline - Clock::Real()->Monotonic();
    if (left <= absl::ZeroDuration()) return false;
    impl_->idle.WaitFor(&impl_->mu, left);
  }
  return true;
}

int HttpServer::requests() const {
  MutexLock lock(&impl_->mu);
  return impl_->at_work;
}

}  // namespace tritter
