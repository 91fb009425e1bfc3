// The coordinator's services on a real server with TLS and tokens: who may call what, what is on
// record, and files that change while it runs.
#include <grpcpp/grpcpp.h>
#include <stdlib.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "access/access_service.h"
#include "access/rpc_channel_client.h"
#include "access/rpc_credentials_service.h"
#include "access/testing/certificates.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "coordinator/run_service.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "coordinator/worker_service.h"
#include "tests/testing/raw_call.h"

namespace tritter {
namespace {

using grpc::StatusCode;
using testing::AllOf;
using testing::HasSubstr;

std::string TokenOf(const std::string& role) { return absl::StrCat("the-long-token-of-", role); }

class SecuredServicesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(testing::TempDir(), "/securedXXXXXX");
    folder_ = mkdtemp(pattern.data());
    Write("server", authority_.Issue("coordinator"));
    Write("client", authority_.Issue("gpu7"));
    WriteText("ca.pem", authority_.pem());
    std::string access = "tokens:\n";
    for (const std::string& role : RoleNames()) {
      absl::StrAppend(&access, "  - {name: ", role, "-only, roles: [", role,
                      "], token: ", TokenOf(role), "}\n");
    }
    WriteText("access.yaml", access);
  }
  void TearDown() override {
    if (server_ != nullptr) {
      coordinator_->Stop();
      server_->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
      server_->Wait();
    }
    std::filesystem::remove_all(folder_);
  }

  std::string Path(const std::string& name) const { return JoinPath(folder_, name); }
  void WriteText(const std::string& name, const std::string& text) {
    ASSERT_OK(WriteFileAtomically(Env::Real(), Path(name), text));
  }
  void Write(const std::string& name, const PemPair& pair) {
    WriteText(name + ".key", pair.key);
    WriteText(name + ".crt", pair.certificate);
  }

  void Serve(const TlsFiles& tls, const AccessOptions& access) {
    ASSERT_OK(CheckTlsFiles(Env::Real(), tls, absl::Now()));
    ASSERT_OK_AND_ASSIGN(access_, AccessControl::Open(Env::Real(), Clock::Real(), access));
    ASSERT_OK_AND_ASSIGN(audit_, AuditLog::Open(&env_, Clock::Real(), {"/data-dir/audit"}));
    CoordinatorOptions options;
    options.data_dir = "/data-dir";
    ASSERT_OK_AND_ASSIGN(
        coordinator_,
        Coordinator::Start({&store_, &env_, Clock::Real(), &catalog_, nullptr}, options));
    const RpcGuard guard(access_.get(), audit_.get());
    runs_ = std::make_unique<RunServiceImpl>(coordinator_.get(), Clock::Real(), guard);
    workers_ =
        std::make_unique<WorkerServiceImpl>(coordinator_.get(), WorkerServiceImpl::Limits(), guard);
    who_ = std::make_unique<AccessServiceImpl>(guard, audit_.get(),
                                               [](const std::string& run) { return run; });
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", MakeServerCredentials(tls), &port);
    for (grpc::Service* s :
         {static_cast<grpc::Service*>(runs_.get()), static_cast<grpc::Service*>(workers_.get()),
          static_cast<grpc::Service*>(who_.get())})
      builder.RegisterService(s);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  void ServeTokens() {
    Serve({Path("server.crt"), Path("server.key"), ""}, {Path("access.yaml"), false});
  }

  ClientSecurity Tls(const std::string& token = "") const {
    ClientSecurity s;
    s.tls_authority = Path("ca.pem");
    s.token = token;
    return s;
  }
  std::shared_ptr<grpc::Channel> Connect(const ClientSecurity& security) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a handshake of its own
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
    return MakeRpcChannel(address_, security, arguments);
  }

  // Any method, with an empty message.
  grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
    return CallRaw(channel, method, "", absl::Seconds(20));
  }

  TestAuthority authority_;
  std::string folder_, address_;
  MemoryStore store_;
  MemoryEnv env_;
  FakeCatalog catalog_;
  std::unique_ptr<AccessControl> access_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<RunServiceImpl> runs_;
  std::unique_ptr<WorkerServiceImpl> workers_;
  std::unique_ptr<AccessServiceImpl> who_;
  std::unique_ptr<grpc::Server> server_;
};

// A method that is missing here, or that asks nobody, fails.
TEST_F(SecuredServicesTest, EveryMethodAsksForItsRole) {
  const std::map<std::string, std::string> needed = {
      {"RunService/SubmitRun", "submit"},
      {"RunService/ValidateRun", "submit"},
      {"RunService/GetRun", "read"},
      {"RunService/ListRuns", "read"},
      {"RunService/WatchRun", "read"},
      {"RunService/PauseRun", "operate"},
      {"RunService/ResumeRun", "operate"},
      {"RunService/CancelRun", "operate"},
      {"RunService/DeleteRun", "operate"},
      {"RunService/ListEpochs", "read"},
      {"RunService/CheckDeletion", "operate"},
      {"RunService/ListEvents", "read"},
      {"RunService/ListMetrics", "read"},
      {"RunService/ListCheckpoints", "read"},
      {"RunService/ListWorkers", "read"},
      {"RunService/StreamLogs", "read"},
      {"WorkerService/Register", "worker"},
      {"WorkerService/Session", "worker"},
      {"WorkerService/PublishRendezvous", "worker"},
      {"WorkerService/NextPlan", "worker"},
      {"WorkerService/Report", "worker"},
      {"WorkerService/CommitShare", "worker"},
      {"AccessService/ListAudit", "operate"},
      {"AccessService/WhoAmI", "any"},
  };
  ServeTokens();
  const auto stranger = Connect(Tls()), forger = Connect(Tls("a-token-that-nobody-has-given"));
  std::map<std::string, std::shared_ptr<grpc::Channel>> with_role;
  std::map<std::string, RoleSet> roles;
  for (const std::string& role : RoleNames()) {
    with_role[role] = Connect(Tls(TokenOf(role)));
    roles[role].Add(*ParseRole(role));
  }
  for (const char* service : {"RunService", "WorkerService", "AccessService"}) {
    const google::protobuf::ServiceDescriptor* descriptor =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
            absl::StrCat("tritter.v1.", service));
    ASSERT_NE(descriptor, nullptr);
    for (int i = 0; i < descriptor->method_count(); ++i) {
      const std::string name = absl::StrCat(service, "/", descriptor->method(i)->name());
      const std::string path = absl::StrCat("/tritter.v1.", name);
      const grpc::Status refused = Call(stranger, path);
      // UNIMPLEMENTED too is a fault: a service that nobody registered, a method that nobody wrote.
      EXPECT_EQ(refused.error_code(), StatusCode::UNAUTHENTICATED)
          << name << ": " << refused.error_message();
      ASSERT_TRUE(needed.contains(name)) << name << ": which role does it take?";
      EXPECT_EQ(Call(forger, path).error_code(), StatusCode::UNAUTHENTICATED) << name;
      for (const auto& [role, channel] : with_role) {
        const grpc::Status status = Call(channel, path);
        const bool may = needed.at(name) == "any" || roles[role].Has(*ParseRole(needed.at(name)));
        EXPECT_NE(status.error_code(), StatusCode::UNAUTHENTICATED) << name << " as " << role;
        EXPECT_EQ(status.error_code() != StatusCode::PERMISSION_DENIED, may)
            << name << " as " << role << ": " << status.error_message();
      }
    }
  }
}

TEST_F(SecuredServicesTest, ChangesAreOnRecordWithCallerAndResult) {
  ServeTokens();
  const auto runs = v1::RunService::NewStub(Connect(Tls(TokenOf("operate"))));
  grpc::ClientContext pausing;
  v1::PauseRunRequest pause;
  pause.set_run("nano");
  v1::Run run;
  EXPECT_EQ(runs->PauseRun(&pausing, pause, &run).error_code(), StatusCode::NOT_FOUND);
  const auto access = v1::AccessService::NewStub(Connect(Tls(TokenOf("operate"))));
  grpc::ClientContext asking;
  v1::ListAuditRequest request;
  request.set_run("nano");
  v1::ListAuditResponse audit;
  ASSERT_TRUE(access->ListAudit(&asking, request, &audit).ok());
  ASSERT_EQ(audit.records_size(), 1);
  EXPECT_EQ(audit.records(0).caller(), "operate-only");
  EXPECT_EQ(audit.records(0).call(), "PauseRun");
  EXPECT_THAT(audit.records(0).peer(), HasSubstr("127.0.0.1"));
  EXPECT_THAT(audit.records(0).result(), HasSubstr("NOT_FOUND: no run with the id or name"));
}

TEST_F(SecuredServicesTest, NothingIsChangedThatCannotBeRecorded) {
  ServeTokens();
  env_.SetCapacity(0);  // the disk is full
  const auto runs = v1::RunService::NewStub(Connect(Tls(TokenOf("operate"))));
  grpc::ClientContext context;
  v1::PauseRunRequest pause;
  pause.set_run("nano");
  v1::Run run;
  const grpc::Status status = runs->PauseRun(&context, pause, &run);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("PauseRun is not carried out"));
}

TEST_F(SecuredServicesTest, WithMutualTlsThereIsNoConnectionWithoutACertificateOfTheAuthority) {
  Serve({Path("server.crt"), Path("server.key"), Path("ca.pem")}, {"", true});
  const std::string method = "/tritter.v1.RunService/ListRuns";
  EXPECT_EQ(Call(Connect(Tls()), method).error_code(), StatusCode::UNAVAILABLE);
  ClientSecurity own = Tls();
  own.tls_certificate = Path("client.crt");
  own.tls_key = Path("client.key");
  EXPECT_TRUE(Call(Connect(own), method).ok());
  TestAuthority other("another authority");
  Write("foreign", other.Issue("gpu7"));
  ClientSecurity foreign = Tls();
  foreign.tls_certificate = Path("foreign.crt");
  foreign.tls_key = Path("foreign.key");
  EXPECT_EQ(Call(Connect(foreign), method).error_code(), StatusCode::UNAVAILABLE);
  const auto who = v1::AccessService::NewStub(Connect(own));
  grpc::ClientContext context;
  v1::WhoAmIResponse response;
  ASSERT_TRUE(who->WhoAmI(&context, {}, &response).ok());
  EXPECT_EQ(response.name(), "gpu7");
}

TEST_F(SecuredServicesTest, AClientSpeaksToNoServerOfAnotherNameOrAuthority) {
  ServeTokens();
  const std::string method = "/tritter.v1.RunService/ListRuns";
  EXPECT_TRUE(Call(Connect(Tls(TokenOf("read"))), method).ok());
  ClientSecurity misnamed = Tls(TokenOf("read"));
  misnamed.tls_server_name = "gpu8.example.org";
  EXPECT_EQ(Call(Connect(misnamed), method).error_code(), StatusCode::UNAVAILABLE);
  WriteText("other-ca.pem", TestAuthority("another authority").pem());
  ClientSecurity misled = Tls(TokenOf("read"));
  misled.tls_authority = Path("other-ca.pem");
  EXPECT_EQ(Call(Connect(misled), method).error_code(), StatusCode::UNAVAILABLE);
  ClientSecurity plain;
  EXPECT_EQ(Call(Connect(plain), method).error_code(), StatusCode::UNAVAILABLE);
}

// Both sides change to another authority while the server runs.
TEST_F(SecuredServicesTest, TakesNewCertificatesWithoutARestart) {
  ServeTokens();
  const std::string method = "/tritter.v1.RunService/ListRuns";
  ASSERT_TRUE(Call(Connect(Tls(TokenOf("read"))), method).ok());
  TestAuthority next("the next authority");
  WriteText("next-ca.pem", next.pem());
  Write("server", next.Issue("coordinator"));
  ClientSecurity security = Tls(TokenOf("read"));
  security.tls_authority = Path("next-ca.pem");
  grpc::Status status;
  const absl::Time until = absl::Now() + absl::Seconds(40);
  do {
    status = Call(Connect(security), method);
  } while (!status.ok() && absl::Now() < until);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(Call(Connect(Tls(TokenOf("read"))), method).ok());  // the old authority is over
}

TEST_F(SecuredServicesTest, OneChannelFollowsItsTokenFile) {
  ServeTokens();
  WriteText("token", TokenOf("read") + "\n");
  ClientSecurity security = Tls();
  security.token_file = Path("token");
  const auto channel = Connect(security);
  const std::string method = "/tritter.v1.WorkerService/Register";
  EXPECT_EQ(Call(channel, method).error_code(), StatusCode::PERMISSION_DENIED);
  WriteText("token", TokenOf("worker") + "\n");
  grpc::Status status;
  const absl::Time until = absl::Now() + absl::Seconds(40);
  do {
    status = Call(channel, method);
  } while (status.error_code() == StatusCode::PERMISSION_DENIED && absl::Now() < until);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);  // of a request without a name
}

// Who is open when the token is taken back: neither looks on nor trains.
TEST_F(SecuredServicesTest, AWithdrawnTokenEndsOpenStreams) {
  ServeTokens();
  const auto submitter = v1::RunService::NewStub(Connect(Tls(TokenOf("submit"))));
  grpc::ClientContext submitting;
  v1::SubmitRunRequest submit;
  submit.set_yaml(RunYaml("run", 10, 1));
  v1::SubmitRunResponse submitted;
  const grpc::Status accepted = submitter->SubmitRun(&submitting, submit, &submitted);
  ASSERT_TRUE(accepted.ok()) << accepted.error_message();

  const auto workers = v1::WorkerService::NewStub(Connect(Tls(TokenOf("worker"))));
  v1::RegisterRequest hello;
  hello.mutable_worker()->set_name("gpu7");
  hello.mutable_worker()->set_incarnation(7);
  grpc::ClientContext registering, session;
  v1::RegisterResponse registered;
  ASSERT_TRUE(workers->Register(&registering, hello, &registered).ok());
  const auto stream = workers->Session(&session);
  v1::Heartbeat beat;
  *beat.mutable_worker() = hello.worker();
  ASSERT_TRUE(stream->Write(beat));
  const auto runs = v1::RunService::NewStub(Connect(Tls(TokenOf("read"))));
  grpc::ClientContext watching;
  v1::WatchRunRequest watch;
  watch.set_run("run");
  const auto updates = runs->WatchRun(&watching, watch);
  v1::RunUpdate update;
  ASSERT_TRUE(updates->Read(&update));

  WriteText("access.yaml", absl::StrCat("tokens:\n  - {name: alice, roles: [submit], token: ",
                                        TokenOf("submit"), "}\n"));
  // Ends when the server has ended the stream.
  while (stream->Write(beat)) absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::UNAUTHENTICATED);
  while (updates->Read(&update)) {
  }
  EXPECT_EQ(updates->Finish().error_code(), StatusCode::UNAUTHENTICATED);
}

}  // namespace
}  // namespace tritter
