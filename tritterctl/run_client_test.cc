#include "tritterctl/run_client.h"

#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/net.h"
#include "common/testing/status_matchers.h"
#include "tritter/v1/runs.grpc.pb.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Code = absl::StatusCode;

// A coordinator with one run, whose watch breaks after `watch_updates` messages.
class FakeRuns final : public v1::RunService::Service {
 public:
  grpc::Status GetRun(grpc::ServerContext*, const v1::GetRunRequest* request,
                      v1::Run* run) override {
    ++calls;
    if (request->run() != "run-1") return {grpc::StatusCode::NOT_FOUND, "no such run"};
    run->set_run_id("run-1");
    return grpc::Status::OK;
  }
  grpc::Status WatchRun(grpc::ServerContext*, const v1::WatchRunRequest*,
                        grpc::ServerWriter<v1::RunUpdate>* writer) override {
    ++calls;
    for (int i = 0; i < watch_updates; ++i) writer->Write(v1::RunUpdate());
    return {grpc::StatusCode::UNAVAILABLE, "stopping"};
  }
  int calls = 0;  // read when none is under way
  int watch_updates = 0;
};

class Served {
 public:
  Served() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&runs);
    server_ = builder.BuildAndStart();
  }
  ~Served() { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  FakeRuns runs;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// Takes connections and never says a word, as a stopped process.
class Mute {
 public:
  Mute() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(listen(fd_, 8), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    port_ = ntohs(at.sin_port);
  }
  ~Mute() { close(fd_); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  const int fd_;
  int port_ = 0;
};

std::string Nobody() { return absl::StrCat("127.0.0.1:", *PickFreeLoopbackPort()); }

TEST(RunClient, AsksTheNextOneWhereACoordinatorRefusesOrSaysNothing) {
  Served leads;
  const Mute stopped;
  RunClient client(absl::StrCat(Nobody(), ",", stopped.address(), ",", leads.address()));
  ASSERT_OK_AND_ASSIGN(const v1::Run run, client.GetRun("run-1"));
  EXPECT_EQ(run.run_id(), "run-1");
  ASSERT_OK(client.GetRun("run-1").status());  // asked first from now on
  EXPECT_EQ(leads.runs.calls, 2);
}

TEST(RunClient, AnAnswerIsAnAnswerAlsoWhenItIsNo) {
  Served leads, other;
  RunClient client(absl::StrCat(leads.address(), ",", other.address()));
  EXPECT_THAT(client.GetRun("run-2"), StatusIs(Code::kNotFound));
  EXPECT_EQ(other.runs.calls, 0);
}

TEST(RunClient, NamesAllThatWereTried) {
  const std::string a = Nobody(), b = Nobody();
  RunClient client(absl::StrCat(a, ",", b));
  EXPECT_THAT(client.GetRun("run-1"),
              StatusIs(Code::kUnavailable,
                       AllOf(HasSubstr("none of the 2 coordinators leads"),
                             HasSubstr(absl::StrCat("cannot reach the coordinator at ", a)),
                             HasSubstr(absl::StrCat("cannot reach the coordinator at ", b)))));
  EXPECT_THAT(RunClient("a:1,b").GetRun("run-1"),
              StatusIs(Code::kInvalidArgument, HasSubstr("--coordinator: ")));
}

TEST(RunClient, AStreamGoesToTheOneThatLeadsAndIsNotBegunAgainInTheMiddle) {
  Served first, second;
  first.runs.watch_updates = 2;
  second.runs.watch_updates = 3;
  RunClient client(absl::StrCat(Nobody(), ",", first.address(), ",", second.address()));
  int updates = 0;
  const auto watch = [&] {
    return client.WatchRun("run-1", [&](const v1::RunUpdate&) { ++updates; }, [] { return true; });
  };
  EXPECT_THAT(watch(), StatusIs(Code::kUnavailable, HasSubstr(first.address())));
  EXPECT_EQ(updates, 2);
  EXPECT_EQ(second.runs.calls, 0);
  EXPECT_THAT(watch(), StatusIs(Code::kUnavailable, HasSubstr(second.address())));
  EXPECT_EQ(updates, 5) << "the next watch asks the next one";
}

}  // namespace
}  // namespace tritter
