#include <liburing.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "common/errno_status.h"
#include "common/read_queue.h"

namespace tritter {
namespace {

class UringReadQueue final : public ReadQueue {
 public:
  UringReadQueue(int descriptor, int depth) : descriptor_(descriptor), depth_(depth) {}
  ~UringReadQueue() override {
    if (!made_) return;
    while (under_way_ > 0) Wait();  // the system writes into memory that is about to go
    io_uring_queue_exit(&ring_);
  }

  absl::Status Start() {
    const int error = io_uring_queue_init(static_cast<unsigned>(depth_), &ring_, 0);
    if (error < 0) return ErrnoStatus("setup", "io_uring", -error);
    made_ = true;
    // Plain reads came later (Linux 5.6) than the ring itself.
    io_uring_probe* const probe = io_uring_get_probe_ring(&ring_);
    const bool reads = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
    if (probe != nullptr) io_uring_free_probe(probe);
    if (!reads) return absl::UnimplementedError("io_uring of this kernel has no plain reads");
    return absl::OkStatus();
  }

  const char* name() const override { return "io_uring"; }
  int depth() const override { return depth_; }

  void Submit(const Read& read) override {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);  // there is one: depth() is the caller's
    io_uring_prep_read(entry, descriptor_, read.into, static_cast<unsigned>(read.bytes),
                       read.offset);
    io_uring_sqe_set_data64(entry, read.tag);
    ++under_way_;
    Enter(0);  // at once: the caller may do other things before it waits
  }

  Result Wait() override {
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) != 0) Enter(1);
    const Result result{io_uring_cqe_get_data64(entry), entry->res};
    io_uring_cqe_seen(&ring_, entry);
    --under_way_;
    return result;
  }

 private:
  // Hands over what was submitted and waits until so many results are there. What the system has no
  // room for at the moment, or is interrupted in, is left for the next time.
  void Enter(unsigned results) {
    const int handed_over = io_uring_submit_and_wait(&ring_, results);
    if (handed_over < 0 && handed_over != -EINTR && handed_over != -EAGAIN &&
        handed_over != -EBUSY) {
      std::fprintf(stderr, "io_uring: %s\n", std::generic_category().message(-handed_over).c_str());
      std::abort();  // the ring itself is broken; errors of reads arrive as results
    }
  }

  const int descriptor_, depth_;
  io_uring ring_{};
  bool made_ = false;
  int under_way_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ReadQueue>> NewUringReadQueue(int descriptor, int depth) {
  auto queue = std::make_unique<UringReadQueue>(descriptor, depth);
  if (absl::Status started = queue->Start(); !started.ok()) return started;
  return std::unique_ptr<ReadQueue>(std::move(queue));
}

}  // namespace tritter
