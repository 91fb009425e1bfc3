// RunApi over gRPC. gRPC stays in the .cc.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "access/client_security.h"
#include "tritterctl/run_api.h"

namespace tritter {

class RunClient final : public RunApi {
 public:
  // `coordinators`: host:port, or several of one store (a:1,b:2), each of which is tried until one
  // answers. The connection is made by the first call.
  explicit RunClient(const std::string& coordinators, const ClientSecurity& security = {});
  ~RunClient() override;

  absl::StatusOr<v1::SubmitRunResponse> SubmitRun(const v1::SubmitRunRequest& request) override;
  absl::StatusOr<v1::ValidateRunResponse> ValidateRun(
      const v1::ValidateRunRequest& request) override;
  absl::StatusOr<v1::Run> GetRun(const std::string& run) override;
  absl::StatusOr<v1::Run> GetRunToChange(const std::string& run) override;
  absl::StatusOr<v1::ListRunsResponse> ListRuns(int limit) override;
  absl::StatusOr<v1::Run> PauseRun(const std::string& run) override;
  absl::StatusOr<v1::Run> ResumeRun(const std::string& run) override;
  absl::StatusOr<v1::Run> CancelRun(const std::string& run, bool now) override;
  absl::StatusOr<v1::DeleteRunResponse> DeleteRun(const std::string& run) override;
  absl::StatusOr<v1::Run> CheckDeletion(const std::string& run) override;
  absl::StatusOr<v1::ListEventsResponse> ListEvents(const v1::ListEventsRequest& request) override;
  absl::StatusOr<v1::ListCheckpointsResponse> ListCheckpoints(const std::string& run) override;
  absl::StatusOr<v1::ListEpochsResponse> ListEpochs(const std::string& run, int limit) override;
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers() override;
  absl::Status WatchRun(const std::string& run,
                        const std::function<void(const v1::RunUpdate&)>& on_update,
                        const std::function<bool()>& tick) override;
  absl::Status StreamLogs(const v1::StreamLogsRequest& request,
                          const std::function<void(const v1::LogLine&)>& on_line,
                          const std::function<bool()>& tick) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tritter
