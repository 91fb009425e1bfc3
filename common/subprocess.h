// Child processes that cannot be left behind: used by `tritterctl local` and by end-to-end tests.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tritter {

struct SubprocessOptions {
  std::vector<std::string> argv;         // argv[0]: a path, or a name that is looked up in PATH
  std::vector<std::string> environment;  // NAME=value, added to or replacing this process's own
  std::string working_directory;         // "": this process's
  enum class Output {
    kInherit,
    kFile,  // stdout and stderr appended to output_path, in the order written
    kPipe,  // stdout and stderr, together, through ReadOutput
  } output = Output::kInherit;
  std::string output_path;
  // SIGKILL for the child when the *thread* that started it ends (PR_SET_PDEATHSIG): start it from
  // the main thread, or from one that lives as long as the child.
  bool die_with_parent = true;
  // A process group of its own: Ctrl-C in the terminal reaches only the parent, which decides, and
  // signals reach grandchildren too.
  bool own_process_group = true;
};

struct ExitStatus {
  int code = 0;       // when signal == 0
  int signal = 0;     // the signal that ended it, or 0
  bool lost = false;  // reaped behind our back (SIGCHLD ignored): how it ended is not known
  bool ok() const { return code == 0 && signal == 0 && !lost; }
  std::string ToString() const;  // "exit code 3", "signal 9 (Killed)"
};

// Owns one child. Its destructor kills the child and its group, and reaps it. When the child has
// ended by itself, what is left of its group is killed too. Not thread-safe.
class Subprocess {
 public:
  // Errors: NotFound (no such program; message names it), as Env for output_path and
  // working_directory.
  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(const SubprocessOptions& options);
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }
  // Without waiting: nothing while it runs.
  std::optional<ExitStatus> Poll();
  // Until it has ended or the timeout is over (then nothing). With kPipe, output is collected
  // meanwhile.
  std::optional<ExitStatus> Wait(absl::Duration timeout = absl::InfiniteDuration());
  // To the child's group (or the child alone without a group); does nothing once it is reaped.
  void Signal(int signal);
  // SIGTERM, and SIGKILL when it still runs after `grace`.
  ExitStatus Stop(absl::Duration grace);
  ExitStatus Kill();  // SIGKILL at once

  // kPipe: what has been written so far and not been returned yet. Never blocks.
  std::string ReadOutput();

 private:
  Subprocess(pid_t pid, bool group, int exit_fd, int output_fd);
  void Drain();

  const pid_t pid_;
  const bool group_;
  const int exit_fd_;  // pidfd: readable when the child has ended
  int output_fd_;      // -1: none, or at its end
  std::string output_;
  std::optional<ExitStatus> exit_;
};

// Runs to the end with output captured. Errors: as Start, DeadlineExceeded after `timeout` (it is
// killed).
struct RunResult {
  ExitStatus exit;
  std::string output;
};
absl::StatusOr<RunResult> RunCommand(std::vector<std::string> argv,
                                     absl::Duration timeout = absl::Seconds(60));

}  // namespace tritter
