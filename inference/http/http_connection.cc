#include "inference/http/http_connection.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace tritter {
namespace {

// How long a wait may go on before it looks whether the server stops.
constexpr absl::Duration kStopPoll = absl::Milliseconds(50);
// Sizes and line ends of chunks, beside the bytes of a body.
constexpr int64_t kChunkOverhead = 1 << 20;

absl::Duration Now() { return Clock::Real()->Monotonic(); }

}  // namespace

bool HttpConnection::Wait(short events, absl::Duration deadline) const {
  while (!stopping_->load(std::memory_order_relaxed)) {
    const absl::Duration left = deadline - Now();
    if (left <= absl::ZeroDuration()) return false;
    pollfd p = {socket_, events, 0};
    const int ready =
        poll(&p, 1, static_cast<int>(absl::ToInt64Milliseconds(std::min(left, kStopPoll))) + 1);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
  return false;
}

bool HttpConnection::Handshake() {
  const absl::Duration deadline = Now() + options_->head_timeout;
  while (tls_ != nullptr) {
    const TlsConnection::Step step = tls_->Handshake();
    if (step.bytes > 0) break;
    if (step.wait == 0 || !Wait(step.wait, deadline)) return false;
  }
  return true;
}

std::vector<std::string> HttpConnection::CertificateNames() const {
  return tls_ == nullptr ? std::vector<std::string>() : tls_->CertificateNames();
}

ssize_t HttpConnection::ReadTls(char* to, size_t size) {
  for (;;) {
    const TlsConnection::Step step = tls_->Read(to, size);
    if (step.bytes >= 0) return step.bytes;
    if (step.wait == 0) return -1;
    if (!Wait(step.wait, deadline_)) {
      timed_out_ = Now() >= deadline_;
      return -1;
    }
  }
}

ssize_t HttpConnection::WriteTls(const char* from, size_t size) {
  for (size_t sent = 0; sent < size;) {
    const TlsConnection::Step step = tls_->Write(from + sent, size - sent);
    if (step.bytes > 0) {
      sent += static_cast<size_t>(step.bytes);
    } else if (step.wait == 0 || !Wait(step.wait, Now() + options_->write_timeout)) {
      return -1;
    }
  }
  return static_cast<ssize_t>(size);
}

ssize_t HttpConnection::ReadSocket(char* to, size_t size) {
  if (tls_ != nullptr) return ReadTls(to, size);
  for (;;) {
    if (!Wait(POLLIN, deadline_)) {
      timed_out_ = Now() >= deadline_;
      return -1;
    }
    const ssize_t n = recv(socket_, to, size, MSG_DONTWAIT);
    if (n >= 0) return n;
    if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) return -1;
  }
}

bool HttpConnection::AwaitRequest(const std::atomic<bool>& draining) {
  timed_out_ = false;
  if (given_ < buffer_.size()) return true;  // sent along with the request before
  if (tls_ != nullptr && tls_->HasPending()) return true;
  const absl::Duration deadline = Now() + options_->idle_timeout;
  for (;;) {
    if (Wait(POLLIN, std::min(deadline, Now() + kStopPoll))) return true;
    if (draining || stopping_->load() || Now() >= deadline) return false;
  }
}

HttpConnection::Head HttpConnection::ReadHead() {
  buffer_.erase(0, given_);
  given_ = 0;
  deadline_ = Now() + options_->head_timeout;
  size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (buffer_.size() > options_->max_head_bytes) return Head::kTooLarge;
    char part[4096];
    const ssize_t n = ReadSocket(part, sizeof part);
    if (n <= 0) return timed_out_ ? Head::kTimedOut : Head::kClosed;
    buffer_.append(part, static_cast<size_t>(n));
  }
  if (end > options_->max_head_bytes) return Head::kTooLarge;
  if (buffer_.find("\r\n") > options_->max_path_bytes) return Head::kPathTooLong;
  for (size_t line = buffer_.find("\r\n") + 2; line < end + 2;) {
    const size_t next = buffer_.find("\r\n", line) + 2;
    if (absl::StartsWithIgnoreCase(absl::string_view(buffer_).substr(line, 6), "range:")) {
      buffer_.erase(line, next - line);
      end -= next - line;
    } else {
      line = next;
    }
  }
  budget_ = static_cast<int64_t>(end) + 4;
  return Head::kOk;
}

void HttpConnection::BeginBody() {
  budget_ = static_cast<int64_t>(options_->max_body_bytes) + kChunkOverhead;
  deadline_ = Now() + options_->body_timeout;
}

bool HttpConnection::ClientGone() const {
  if (stopping_->load(std::memory_order_relaxed)) return true;
  pollfd p = {socket_, POLLRDHUP, 0};
  return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

std::string HttpConnection::PeerAddress() const {
  sockaddr_storage peer = {};
  socklen_t size = sizeof peer;
  char host[NI_MAXHOST];
  if (getpeername(socket_, reinterpret_cast<sockaddr*>(&peer), &size) != 0 ||
      getnameinfo(reinterpret_cast<const sockaddr*>(&peer), size, host, sizeof host, nullptr, 0,
                  NI_NUMERICHOST) != 0) {
    return "";
  }
  return host;
}

void HttpConnection::SendNow(const std::string& bytes) {
  if (tls_ != nullptr) {
    tls_->Write(bytes.data(), bytes.size());
    return;
  }
  [[maybe_unused]] const ssize_t n =
      send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void HttpConnection::Finish(absl::Duration linger) {
  if (tls_ != nullptr) tls_->Close();
  ::shutdown(socket_, SHUT_WR);
  const absl::Duration deadline = Now() + linger;
  char rest[16384];
  for (;;) {
    const ssize_t n = recv(socket_, rest, sizeof rest, MSG_DONTWAIT);
    if (n == 0) return;
    if (n < 0 && !Wait(POLLIN, deadline)) return;
    if (Now() >= deadline) return;
  }
}

bool HttpConnection::is_readable() const {
  return given_ < buffer_.size() || (tls_ != nullptr && tls_->HasPending()) ||
         Wait(POLLIN, deadline_);
}

bool HttpConnection::is_writable() const { return Wait(POLLOUT, Now() + options_->write_timeout); }

ssize_t HttpConnection::read(char* to, size_t size) {
  if (budget_ <= 0) return -1;  // more than the part of the request may have
  size = std::min<size_t>(size, static_cast<size_t>(budget_));
  ssize_t n = 0;
  if (given_ < buffer_.size()) {
    n = static_cast<ssize_t>(std::min(size, buffer_.size() - given_));
    std::copy_n(buffer_.data() + given_, n, to);
    given_ += static_cast<size_t>(n);
  } else {
    n = ReadSocket(to, size);
  }
  if (n > 0) budget_ -= n;
  return n;
}

ssize_t HttpConnection::write(const char* from, size_t size) {
  if (tls_ != nullptr) return WriteTls(from, size);
  for (size_t sent = 0; sent < size;) {
    const ssize_t n = send(socket_, from + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      sent += static_cast<size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!Wait(POLLOUT, Now() + options_->write_timeout)) return -1;
    } else if (errno != EINTR) {
      return -1;
    }
  }
  return static_cast<ssize_t>(size);
}

// Of httplib nothing depends on who asks.
void HttpConnection::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}
void HttpConnection::get_local_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

}  // namespace tritter
