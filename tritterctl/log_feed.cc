#include "tritterctl/log_feed.h"

#include <deque>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
// A coordinator keeps 5000 lines of a run: none that is older than these can come again.
constexpr size_t kRemembered = 10000;

// The lines handed out or left out so far.
class SeenLines {
 public:
  void Add(const v1::LogLine& line) {
    keys_.push_back(Key(line));
    if (keys_.size() > kRemembered) keys_.pop_front();
  }
  // The stream begins anew, with lines that were seen.
  void Rewind() {
    due_.clear();
    for (const std::string& key : keys_) ++due_[key];
  }
  // Whether `line` is one of those; each counts once.
  bool ComesAgain(const v1::LogLine& line) {
    const auto it = due_.find(Key(line));
    if (it == due_.end()) return false;
    if (--it->second == 0) due_.erase(it);
    return true;
  }

 private:
  static std::string Key(const v1::LogLine& line) {
    return absl::StrCat(line.time_ms(), "\n", line.worker(), "\n", line.line());
  }
  std::deque<std::string> keys_;  // oldest first
  absl::flat_hash_map<std::string, int> due_;
};

}  // namespace

absl::Status FollowLogs(RunApi* client, Clock* clock, const std::string& run,
                        const LogFollowOptions& options,
                        const std::function<void(const v1::LogLine&)>& on_line,
                        const std::function<bool()>& tick) {
  // Asked once first: an unknown run or an absent server is told at once, and a newer run of that
  // name does not take its place later.
  ASSIGN_OR_RETURN(const v1::Run found, client->GetRun(run));
  v1::StreamLogsRequest request;
  request.set_run(found.run_id());
  SeenLines seen;
  // `tail` is taken here: the lines before it are to be known too, for they come again. Of all
  // workers, as it counts those of all.
  if (options.tail > 0) {
    std::vector<v1::LogLine> kept;
    RETURN_IF_ERROR(
        client->StreamLogs(request, [&](const v1::LogLine& line) { kept.push_back(line); }, tick));
    const size_t tail = static_cast<size_t>(options.tail);
    for (size_t i = 0; i < kept.size(); ++i) {
      if (!options.worker.empty() && kept[i].worker() != options.worker) continue;
      seen.Add(kept[i]);
      if (i + tail >= kept.size()) on_line(kept[i]);
    }
  }
  request.set_worker(options.worker);
  request.set_follow(true);
  bool stopped = false;
  const auto stream_tick = [&] {
    stopped = stopped || !tick();
    return !stopped;
  };
  absl::Duration heard = clock->Monotonic();
  for (;;) {
    // Asked each time: a stream may be open for long without a line that shows that it is.
    absl::Status status = client->GetRun(request.run()).status();
    if (status.ok()) {
      seen.Rewind();
      status = client->StreamLogs(
          request,
          [&](const v1::LogLine& line) {
            if (seen.ComesAgain(line)) return;
            seen.Add(line);
            on_line(line);
          },
          stream_tick);
      if (status.ok()) return status;
      heard = clock->Monotonic();
    }
    // A server that ends cancels the streams it has open.
    const bool away = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
                      absl::IsCancelled(status);
    if (!stopped && (!away || clock->Monotonic() - heard > options.unreachable_limit))
      return status;
    for (absl::Duration waited; waited < options.interval; waited += kTick) {
      if (!stream_tick()) return absl::CancelledError("interrupted");
      clock->Sleep(kTick);
    }
  }
}

}  // namespace tritter
