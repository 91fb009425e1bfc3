#include "common/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock.h"
#include "common/errno_status.h"
#include "common/status_macros.h"

extern char** environ;

namespace tritter {
namespace {

// Closes on the way out unless taken.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { Reset(); }
  Fd(const Fd&) = delete;
  void Reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }
  int get() const { return fd_; }
  int Take() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

absl::Status MakePipe(Fd* read_end, Fd* write_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("pipe", "subprocess");
  read_end->Reset(ends[0]);
  write_end->Reset(ends[1]);
  return absl::OkStatus();
}

std::vector<std::string> Environment(const std::vector<std::string>& changes) {
  std::map<std::string, std::string> by_name;
  auto add = [&](const std::string& entry) { by_name[entry.substr(0, entry.find('='))] = entry; };
  for (char** entry = environ; *entry != nullptr; ++entry) add(*entry);
  for (const std::string& entry : changes) add(entry);
  std::vector<std::string> out;
  for (auto& [name, entry] : by_name) out.push_back(std::move(entry));
  return out;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// What the child reports through the pipe when it cannot become the program.
struct ChildError {
  enum Step : int { kWorkingDirectory, kExec } step;
  int error;
};

// Everything the child needs, prepared before fork: after it only async-signal-safe calls are
// allowed.
struct ChildPlan {
  char* const* argv;
  char* const* envp;
  const char* working_directory;  // null: stay
  int output_fd;                  // -1: inherit
  int error_fd;
  pid_t parent;
  bool die_with_parent, own_process_group;
};

[[noreturn]] void BecomeProgram(const ChildPlan& plan) {
  if (plan.own_process_group) setpgid(0, 0);
  // Ignored signals and the mask survive exec: the program starts with the defaults.
  for (int signal : {SIGPIPE, SIGINT, SIGTERM, SIGCHLD, SIGHUP}) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (plan.die_with_parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != plan.parent) _exit(127);  // it ended before prctl took effect
  }
  if (plan.output_fd >= 0) {
    dup2(plan.output_fd, STDOUT_FILENO);
    dup2(plan.output_fd, STDERR_FILENO);
  }
  ChildError failure = {ChildError::kWorkingDirectory, 0};
  if (plan.working_directory == nullptr || chdir(plan.working_directory) == 0) {
    execvpe(plan.argv[0], plan.argv, plan.envp);
    failure.step = ChildError::kExec;
  }
  failure.error = errno;
  [[maybe_unused]] const ssize_t n = write(plan.error_fd, &failure, sizeof failure);
  _exit(127);
}

absl::Status OpenOutput(const SubprocessOptions& options, Fd* child_end, Fd* our_end) {
  using Output = SubprocessOptions::Output;
  if (options.output == Output::kFile) {
    child_end->Reset(
        open(options.output_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    if (child_end->get() < 0) return ErrnoStatus("open for output", options.output_path);
  } else if (options.output == Output::kPipe) {
    RETURN_IF_ERROR(MakePipe(our_end, child_end));
    fcntl(our_end->get(), F_SETFL, O_NONBLOCK);
  }
  return absl::OkStatus();
}

}  // namespace

std::string ExitStatus::ToString() const {
  if (lost) return "an unknown end (somebody else reaped it)";
  if (signal != 0) return absl::StrCat("signal ", signal, " (", strsignal(signal), ")");
  return absl::StrCat("exit code ", code);
}

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(const SubprocessOptions& options) {
  if (options.argv.empty()) return absl::InvalidArgumentError("subprocess: empty argv");
  const std::vector<std::string> environment = Environment(options.environment);
  const std::vector<char*> argv = Pointers(options.argv), envp = Pointers(environment);
  Fd output_child, output_ours, error_read, error_write;
  RETURN_IF_ERROR(OpenOutput(options, &output_child, &output_ours));
  RETURN_IF_ERROR(MakePipe(&error_read, &error_write));
  const ChildPlan plan = {
      argv.data(),
      envp.data(),
      options.working_directory.empty() ? nullptr : options.working_directory.c_str(),
      output_child.get(),
      error_write.get(),
      getpid(),
      options.die_with_parent,
      options.own_process_group};
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus("fork", options.argv[0]);
  if (pid == 0) BecomeProgram(plan);
  if (options.own_process_group) setpgid(pid, pid);  // whoever comes first: no window without it
  error_write.Reset();

  // The pipe closes at exec; until then Start does not return, so argv and envp stay alive.
  ChildError failure;
  ssize_t n;
  do {
    n = read(error_read.get(), &failure, sizeof failure);
  } while (n < 0 && errno == EINTR);
  if (n == sizeof failure) {
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return failure.step == ChildError::kExec
               ? ErrnoStatus("start program", options.argv[0], failure.error)
               : ErrnoStatus("enter working directory", options.working_directory, failure.error);
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));  // -1 before Linux 5.3
  if (pidfd >= 0) fcntl(pidfd, F_SETFD, FD_CLOEXEC);
  return absl::WrapUnique(
      new Subprocess(pid, options.own_process_group, pidfd, output_ours.Take()));
}

Subprocess::Subprocess(pid_t pid, bool group, int exit_fd, int output_fd)
    : pid_(pid), group_(group), exit_fd_(exit_fd), output_fd_(output_fd) {}

Subprocess::~Subprocess() {
  if (!exit_) Kill();
  if (exit_fd_ >= 0) close(exit_fd_);
  if (output_fd_ >= 0) close(output_fd_);
}

std::optional<ExitStatus> Subprocess::Poll() {
  if (exit_) return exit_;
  siginfo_t info = {};
  int result;
  do {
    result = waitid(P_PID, pid_, &info, WEXITED | WNOHANG | WNOWAIT);
  } while (result != 0 && errno == EINTR);
  if (result == 0 && info.si_pid == 0) return std::nullopt;
  if (result != 0) {  // ECHILD: reaped already, so its number may be somebody else's by now
    Drain();
    exit_ = ExitStatus{-1, 0, /*lost=*/true};
    return exit_;
  }
  // Not reaped yet, so the group's number cannot have passed to somebody else: its rest goes now.
  if (group_) kill(-pid_, SIGKILL);
  Drain();
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  exit_ =
      WIFSIGNALED(status) ? ExitStatus{0, WTERMSIG(status)} : ExitStatus{WEXITSTATUS(status), 0};
  return exit_;
}

std::optional<ExitStatus> Subprocess::Wait(absl::Duration timeout) {
  const absl::Duration deadline = Clock::Real()->Monotonic() + timeout;
  for (;;) {
    Drain();
    if (Poll()) return exit_;
    const absl::Duration left = deadline - Clock::Real()->Monotonic();
    if (left <= absl::ZeroDuration()) return std::nullopt;
    // Without a pidfd the exit is looked for every few milliseconds.
    const absl::Duration step = exit_fd_ >= 0 ? absl::Hours(1) : absl::Milliseconds(5);
    pollfd fds[] = {{exit_fd_, POLLIN, 0}, {output_fd_, POLLIN, 0}};  // poll skips those of -1
    poll(fds, 2, static_cast<int>(absl::ToInt64Milliseconds(std::min(left, step))) + 1);
  }
}

void Subprocess::Signal(int signal) {
  if (!exit_) kill(group_ ? -pid_ : pid_, signal);
}

ExitStatus Subprocess::Stop(absl::Duration grace) {
  Signal(SIGTERM);
  if (const std::optional<ExitStatus> exit = Wait(grace)) return *exit;
  return Kill();
}

ExitStatus Subprocess::Kill() {
  Signal(SIGKILL);
  return *Wait();
}

void Subprocess::Drain() {
  char buffer[16 << 10];
  while (output_fd_ >= 0) {
    const ssize_t n = read(output_fd_, buffer, sizeof buffer);
    if (n > 0) {
      output_.append(buffer, n);
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN) {
      return;
    } else {
      close(std::exchange(output_fd_, -1));
    }
  }
}

std::string Subprocess::ReadOutput() {
  Drain();
  return std::exchange(output_, "");
}

absl::StatusOr<RunResult> RunCommand(std::vector<std::string> argv, absl::Duration timeout) {
  SubprocessOptions options;
  options.argv = std::move(argv);
  options.output = SubprocessOptions::Output::kPipe;
  ASSIGN_OR_RETURN(const std::unique_ptr<Subprocess> process, Subprocess::Start(options));
  const std::optional<ExitStatus> exit = process->Wait(timeout);
  if (!exit) {
    return absl::DeadlineExceededError(absl::StrCat(
        absl::StrJoin(options.argv, " "), ": still running after ", absl::FormatDuration(timeout)));
  }
  return RunResult{*exit, process->ReadOutput()};
}

}  // namespace tritter
