// A RunService in this process with one run whose state the test sets. Listens on a free loopback
// port.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "tritter/v1/runs.grpc.pb.h"

namespace tritter {

// Thread-safe. Knows the run "r-1" named "demo"; every other name is NOT_FOUND with an ErrorDetail.
class FakeCoordinator final : public v1::RunService::Service {
 public:
  // Serves DemoRun() on `address`.
  explicit FakeCoordinator(const std::string& address = "127.0.0.1:0");
  ~FakeCoordinator() override;
  const std::string& address() const { return address_; }

  // What is answered from now on; open watches get it as an update, and end when its state is
  // terminal.
  void SetRun(const v1::Run& run);
  v1::Run run();
  void Stop();   // as if killed: streams break, the port is closed
  void Start();  // again, on the same port
  std::vector<v1::SubmitRunRequest> submitted();
  // Sent with every update of a watch.
  void SetEvents(const std::vector<v1::Event>& events);
  // Every submission is a repeat from now on.
  void RememberSubmission();
  std::vector<std::string> deleted();  // as the requests named them; every run may go
  // A second run, older than the first: listed, and can be paused.
  void SetEarlierRun(const v1::Run& run);
  int watches();  // WatchRun calls so far
  // What is logged from the first line on; until then three lines, "line 0" to "line 2", of
  // worker-0. A stream that follows sends those that are added, and ends once the run has.
  void SetLogs(const std::vector<v1::LogLine>& lines);
  int log_streams();  // StreamLogs calls so far

 private:
  grpc::Status SubmitRun(grpc::ServerContext*, const v1::SubmitRunRequest*,
                         v1::SubmitRunResponse*) override;
  grpc::Status ValidateRun(grpc::ServerContext*, const v1::ValidateRunRequest*,
                           v1::ValidateRunResponse*) override;
  grpc::Status GetRun(grpc::ServerContext*, const v1::GetRunRequest*, v1::Run*) override;
  grpc::Status ListRuns(grpc::ServerContext*, const v1::ListRunsRequest*,
                        v1::ListRunsResponse*) override;
  grpc::Status WatchRun(grpc::ServerContext*, const v1::WatchRunRequest*,
                        grpc::ServerWriter<v1::RunUpdate>*) override;
  grpc::Status PauseRun(grpc::ServerContext*, const v1::PauseRunRequest*, v1::Run*) override;
  grpc::Status ResumeRun(grpc::ServerContext*, const v1::ResumeRunRequest*, v1::Run*) override;
  grpc::Status CancelRun(grpc::ServerContext*, const v1::CancelRunRequest*, v1::Run*) override;
  grpc::Status CheckDeletion(grpc::ServerContext*, const v1::CheckDeletionRequest*,
                             v1::Run*) override;
  grpc::Status DeleteRun(grpc::ServerContext*, const v1::DeleteRunRequest*,
                         v1::DeleteRunResponse*) override;
  grpc::Status ListEvents(grpc::ServerContext*, const v1::ListEventsRequest*,
                          v1::ListEventsResponse*) override;
  grpc::Status ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest*,
                               v1::ListCheckpointsResponse*) override;
  grpc::Status ListEpochs(grpc::ServerContext*, const v1::ListEpochsRequest*,
                          v1::ListEpochsResponse*) override;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse*) override;
  grpc::Status StreamLogs(grpc::ServerContext*, const v1::StreamLogsRequest*,
                          grpc::ServerWriter<v1::LogLine>*) override;

  grpc::Status Find(const std::string& name, v1::Run* out);
  grpc::Status Move(const std::string& name, v1::RunState from, v1::RunState to, v1::Run* out);

  Mutex mu_;
  CondVar changed_;
  v1::Run run_ GUARDED_BY(mu_);
  std::optional<v1::Run> earlier_ GUARDED_BY(mu_);
  int64_t version_ GUARDED_BY(mu_) = 0;
  int watches_ GUARDED_BY(mu_) = 0;
  int log_streams_ GUARDED_BY(mu_) = 0;
  std::vector<v1::LogLine> logs_ GUARDED_BY(mu_);
  std::vector<std::string> deleted_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<v1::SubmitRunRequest> submitted_ GUARDED_BY(mu_);
  std::vector<v1::Event> events_ GUARDED_BY(mu_);
  bool remembers_ GUARDED_BY(mu_) = false;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace tritter
