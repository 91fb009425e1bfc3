#include "worker/checkpoint_writer.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

CheckpointWriter::CheckpointWriter(Options options)
    : options_(std::move(options)), thread_([this] { Loop(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

absl::Status CheckpointWriter::Start(std::unique_ptr<TrainerSnapshot> snapshot,
                                     CheckpointOrder order) {
  RETURN_IF_ERROR(WaitIdle());
  MutexLock lock(&mu_);
  next_ = Job{std::move(snapshot), std::move(order)};
  busy_ = true;
  changed_.NotifyAll();
  return absl::OkStatus();
}

absl::Status CheckpointWriter::Check() {
  MutexLock lock(&mu_);
  return TakeFailureLocked();
}

absl::Status CheckpointWriter::WaitIdle() {
  MutexLock lock(&mu_);
  while (busy_) {
    if (options_.cancellation->cancelled())
      return absl::AbortedError(options_.cancellation->cause().message());
    changed_.WaitFor(&mu_, absl::Milliseconds(50));  // cancellation does not wake us
  }
  return TakeFailureLocked();
}

absl::Status CheckpointWriter::TakeFailureLocked() {
  return std::exchange(failure_, absl::OkStatus());
}

void CheckpointWriter::Loop() {
  while (true) {
    Job job;
    {
      MutexLock lock(&mu_);
      while (!stop_ && !next_.has_value()) changed_.Wait(&mu_);
      if (!next_.has_value()) return;
      job = *std::move(next_);
      next_.reset();
    }
    CheckpointEnd end;
    end.order = job.order;
    const absl::Duration start = options_.clock->Monotonic();
    end.status = Annotate(Write(job, &end), absl::StrCat("checkpoint of step ", job.order.step));
    end.seconds = absl::ToDoubleSeconds(options_.clock->Monotonic() - start);
    job.snapshot.reset();  // its memory is the next one's
    if (options_.on_end) options_.on_end(end);
    MutexLock lock(&mu_);
    busy_ = false;
    failure_ = end.status;
    changed_.NotifyAll();
  }
}

absl::StatusOr<std::vector<ManifestFile>> CheckpointWriter::TryWriteFiles(const Job& job) {
  if (options_.before_write) RETURN_IF_ERROR(options_.before_write());
  const CheckpointAttempt attempt{job.order.step, job.order.attempt};
  RETURN_IF_ERROR(options_.store->Begin(attempt));
  return job.snapshot->WriteShare(options_.store, attempt);
}

absl::StatusOr<std::vector<ManifestFile>> CheckpointWriter::WriteFiles(const Job& job) {
  std::optional<absl::Duration> noticed;
  while (true) {
    absl::StatusOr<std::vector<ManifestFile>> files = TryWriteFiles(job);
    if (!absl::IsResourceExhausted(files.status())) return files;
    const absl::Duration now = options_.clock->Monotonic();
    if (!noticed.has_value() || now - *noticed >= options_.disk_full_notice) {
      noticed = now;
      if (options_.on_disk_full) options_.on_disk_full(job.order, files.status());
    }
    if (options_.cancellation->Sleep(options_.disk_retry))
      return absl::AbortedError(options_.cancellation->cause().message());
  }
}

absl::Status CheckpointWriter::Write(const Job& job, CheckpointEnd* end) {
  const absl::Duration start = options_.clock->Monotonic();
  ASSIGN_OR_RETURN(const std::vector<ManifestFile> files, WriteFiles(job));
  end->write_seconds = absl::ToDoubleSeconds(options_.clock->Monotonic() - start);
  for (const ManifestFile& file : files) end->bytes += file.bytes;
  if (options_.before_commit) RETURN_IF_ERROR(options_.before_commit(job.order.step));
  while (true) {
    ASSIGN_OR_RETURN(const bool committed, CallUntilAnswered(
                                               *options_.cancellation, options_.backoff,
                                               [&] {
                                                 return options_.link->CommitShare(
                                                     options_.id, job.order, options_.rank, files);
                                               },
                                               [](const absl::Status&) {}));
    if (committed) return absl::OkStatus();
    if (options_.cancellation->Sleep(options_.commit_poll))
      return absl::AbortedError(options_.cancellation->cause().message());
  }
}

}  // namespace tritter
