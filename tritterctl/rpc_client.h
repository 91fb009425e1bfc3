// What both gRPC clients of tritterctl share. Included only by *_client.cc.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "access/rpc_channel_client.h"
#include "common/address_list.h"
#include "tritterctl/error_detail.h"

namespace tritter {

inline constexpr std::chrono::seconds kCallDeadline(10);
inline constexpr std::chrono::milliseconds kTickInterval(100);

// `connect_limit`: after it a server that accepts connections and says nothing counts as away.
inline std::shared_ptr<grpc::Channel> MakeChannel(
    const std::string& address, const ClientSecurity& security,
    std::chrono::milliseconds connect_limit = std::chrono::seconds(20)) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(connect_limit.count()));
  arguments.SetMaxReceiveMessageSize(64 << 20);
  // Connections of its own: else a new channel would wait out the reconnect pause of an earlier one
  // to the same address.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return MakeRpcChannel(address, security, arguments);
}

// What gRPC says of a handshake that failed is for those who wrote it.
inline std::string TlsHint(absl::string_view message) {
  if (absl::StrContains(message, "WRONG_VERSION_NUMBER"))
    return "; the server speaks no TLS: leave --tls-ca out";
  // Of a connection that was never there: one that breaks says so with other words before it.
  if (absl::StrContains(message, "failed to connect") &&
      (absl::StrContains(message, "Socket closed") ||
       absl::StrContains(message, "Connection reset")))
    return "; does the server speak TLS? then give --tls-ca, and --tls-cert where it asks for one";
  if (absl::StrContains(message, "CERTIFICATE_VERIFY_FAILED") ||
      absl::StrContains(message, "Peer Check Failed") || absl::StrContains(message, "verify") ||
      absl::StrContains(message, "Verification") || absl::StrContains(message, "handshake"))
    return "; is the server's certificate signed by --tls-ca and made for that address "
           "(--tls-server-name)?";
  return "";
}

// Of an address that does not answer gRPC says much; who was asked is said already.
inline std::string WhyUnreachable(absl::string_view message) {
  if (absl::StrContains(message, "Connection refused"))
    return "nothing listens there; is it running, and is that its address?";
  return std::string(message);
}

// `who`: "coordinator at 127.0.0.1:7070", for errors that come from nobody.
inline absl::Status FromGrpc(const grpc::Status& status, const std::string& who) {
  if (status.ok()) return absl::OkStatus();
  std::string message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE)
    message =
        absl::StrCat("cannot reach the ", who, ": ", WhyUnreachable(message), TlsHint(message));
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
    message = absl::StrCat("no answer from the ", who, " in time: ", message);
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), message);
  AttachErrorDetail(status.error_details(), &out);
  return out;
}

// One request, one answer: `call` is (stub->*Method)(&context, request, &response).
template <typename Response, typename Call>
absl::StatusOr<Response> CallUnary(const std::string& who, Call call) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
  Response response;
  if (absl::Status status = FromGrpc(call(&context, &response), who); !status.ok()) return status;
  return response;
}

// The coordinators that `--coordinator` names, of which one leads and the others refuse
// connections: the one that answered last is asked first. One thread.
class Coordinators {
 public:
  Coordinators(const std::string& list, const ClientSecurity& security) : security_(security) {
    auto addresses = ParseAddressList(list);
    if (!addresses.ok()) {
      refused_ =
          absl::InvalidArgumentError(absl::StrCat("--coordinator: ", addresses.status().message()));
      return;
    }
    addresses_ = *std::move(addresses);
    for (const std::string& address : addresses_)
      refused_.Update(CheckServerAddress("--coordinator", address, security));
    if (refused_.ok()) Connect();
  }

  // `call` (channel, who) is made to one coordinator after the other until one answers: with
  // anything but Unavailable. InvalidArgument before anything is sent; Unavailable naming all that
  // were tried.
  template <typename Call>
  auto Ask(Call call) -> decltype(call(std::shared_ptr<grpc::Channel>(), std::string())) {
    if (!refused_.ok()) return refused_;
    std::string problems;
    for (size_t tried = 1;; ++tried) {
      const std::string& address = addresses_[at_];
      auto answer = call(channel_, absl::StrCat("coordinator at ", address));
      const absl::Status status = StatusOf(answer);
      if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) Next();
      if (!absl::IsUnavailable(status) || addresses_.size() == 1) return answer;
      absl::StrAppend(&problems, problems.empty() ? "" : "; ", status.message());
      if (tried < addresses_.size()) continue;
      return absl::UnavailableError(
          absl::StrCat("none of the ", addresses_.size(), " coordinators leads: ", problems));
    }
  }
  // The one that answered has gone.
  void Next() {
    at_ = (at_ + 1) % addresses_.size();
    Connect();
  }

 private:
  static absl::Status StatusOf(const absl::Status& status) { return status; }
  template <typename T>
  static absl::Status StatusOf(const absl::StatusOr<T>& answer) {
    return answer.status();
  }
  // A new channel each time: the old one pauses for seconds between its attempts, and the callers
  // have pauses of their own.
  void Connect() {
    const bool several = addresses_.size() > 1;
    channel_ = several ? MakeChannel(addresses_[at_], security_, std::chrono::seconds(2))
                       : MakeChannel(addresses_[at_], security_);
  }

  const ClientSecurity security_;
  absl::Status refused_;
  std::vector<std::string> addresses_;
  size_t at_ = 0;
  std::shared_ptr<grpc::Channel> channel_;
};

// Reads a server stream to its end in this thread. `start`: (stub->AsyncMethod)(context, request,
// queue, tag).
template <typename Message, typename Start>
absl::Status ReadStream(grpc::ClientContext* context, const std::string& who, Start start,
                        const std::function<void(const Message&)>& on_message,
                        const std::function<bool()>& tick) {
  grpc::CompletionQueue queue;
  enum Step : intptr_t { kStarted = 1, kRead, kFinished };
  const auto tag = [](Step s) { return reinterpret_cast<void*>(static_cast<intptr_t>(s)); };
  std::unique_ptr<grpc::ClientAsyncReader<Message>> reader = start(context, &queue, tag(kStarted));
  Message message;
  grpc::Status status;
  bool finishing = false, cancelled = false;
  for (;;) {
    if (!cancelled && !tick()) {
      context->TryCancel();
      cancelled = true;
    }
    void* done = nullptr;
    bool ok = false;
    const auto next = queue.AsyncNext(&done, &ok, std::chrono::system_clock::now() + kTickInterval);
    if (next == grpc::CompletionQueue::TIMEOUT) continue;
    if (next == grpc::CompletionQueue::SHUTDOWN || done == tag(kFinished)) break;
    if (done == tag(kRead) && ok) on_message(message);
    if (ok) {
      reader->Read(&message, tag(kRead));
    } else if (!finishing) {
      finishing = true;
      reader->Finish(&status, tag(kFinished));
    }
  }
  queue.Shutdown();
  void* rest = nullptr;
  bool ok = false;
  while (queue.Next(&rest, &ok)) {
  }
  if (cancelled) return absl::CancelledError("interrupted");
  return FromGrpc(status, who);
}

}  // namespace tritter
