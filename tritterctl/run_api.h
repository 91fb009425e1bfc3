// The coordinator as commands see it: calls of tritter.v1.RunService with absl::Status and plain
// callbacks, without gRPC. The real form is RunClient (run_client.h). Not thread-safe: one command,
// one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tritter/v1/runs.pb.h"

namespace tritter {

class RunApi {
 public:
  virtual ~RunApi() = default;

  // Calls that change something carry an id drawn for them, so that one that is sent again happens
  // once. Errors of all calls: Unavailable (nobody there), DeadlineExceeded (10 s), and what the
  // service says, with ErrorDetail as a payload (tritterctl/error_detail.h).
  virtual absl::StatusOr<v1::SubmitRunResponse> SubmitRun(const v1::SubmitRunRequest& request) = 0;
  virtual absl::StatusOr<v1::ValidateRunResponse> ValidateRun(
      const v1::ValidateRunRequest& request) = 0;
  virtual absl::StatusOr<v1::Run> GetRun(const std::string& run) = 0;
  // The one that a call which changes it would take.
  virtual absl::StatusOr<v1::Run> GetRunToChange(const std::string& run) = 0;
  virtual absl::StatusOr<v1::ListRunsResponse> ListRuns(int limit) = 0;
  virtual absl::StatusOr<v1::Run> PauseRun(const std::string& run) = 0;
  virtual absl::StatusOr<v1::Run> ResumeRun(const std::string& run) = 0;
  virtual absl::StatusOr<v1::Run> CancelRun(const std::string& run, bool now) = 0;
  virtual absl::StatusOr<v1::DeleteRunResponse> DeleteRun(const std::string& run) = 0;
  // The run that DeleteRun would remove, or its error.
  virtual absl::StatusOr<v1::Run> CheckDeletion(const std::string& run) = 0;
  virtual absl::StatusOr<v1::ListEventsResponse> ListEvents(
      const v1::ListEventsRequest& request) = 0;
  virtual absl::StatusOr<v1::ListCheckpointsResponse> ListCheckpoints(const std::string& run) = 0;
  virtual absl::StatusOr<v1::ListEpochsResponse> ListEpochs(const std::string& run, int limit) = 0;
  virtual absl::StatusOr<v1::ListWorkersResponse> ListWorkers() = 0;

  // Streams. `tick` is called at least every 100 ms from the same thread; false ends the stream
  // (Cancelled).
  virtual absl::Status WatchRun(const std::string& run,
                                const std::function<void(const v1::RunUpdate&)>& on_update,
                                const std::function<bool()>& tick) = 0;
  virtual absl::Status StreamLogs(const v1::StreamLogsRequest& request,
                                  const std::function<void(const v1::LogLine&)>& on_line,
                                  const std::function<bool()>& tick) = 0;
};

// host:port → the API there; the connection is made by the first call.
using RunApiFactory = std::function<std::unique_ptr<RunApi>(const std::string& address)>;

}  // namespace tritter
