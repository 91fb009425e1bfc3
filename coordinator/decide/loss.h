// Is this worker lost, and which failure of an epoch came first?
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace tritter {

struct LivenessOptions {
  absl::Duration heartbeat_interval = absl::Seconds(1);
  absl::Duration heartbeat_timeout = absl::Seconds(5);
  absl::Duration stream_grace =
      absl::Milliseconds(500);  // a broken stream may be opened again within
  absl::Duration restart_grace =
      absl::Seconds(10);  // for members of live epochs after a restart of the coordinator
  // A coordinator whose pulse (coordinator/pulse.h) pauses for longer than this was itself away
  // (stopped, or its machine was): silence in that time says nothing about the workers.
  absl::Duration own_pause = absl::Seconds(1);
  absl::Duration blame_window =
      absl::Seconds(1);  // a survivor's complaint waits for the loss behind it
};

// Durations are ages; infinite when it never happened.
struct Liveness {
  bool attached = false;  // its stream is open
  bool awaited = false;   // no session since the coordinator started
  absl::Duration detached_for = absl::InfiniteDuration();
  absl::Duration silent_for = absl::ZeroDuration();       // since the last heartbeat
  absl::Duration awaited_for = absl::ZeroDuration();      // since the coordinator started
  absl::Duration unheard_for = absl::InfiniteDuration();  // awaited: since its newest call
  bool missed = false;       // awaited, and a member of its epoch says that the group is broken
  std::string process = {};  // "pid 12 on host-a"; "": not known
};

struct Loss {
  const char* kind = "";  // "stream", "silence", "restart": the label of the metric
  std::string why;        // after "worker w lost: "
};

// "its process (pid 12 on host-a) died or was cut off": which of both, nobody can see from here.
std::string GoneProcess(const std::string& process);

// Nothing while it does not count as lost.
std::optional<Loss> DecideLoss(const Liveness& worker, const LivenessOptions& options = {});

}  // namespace tritter
