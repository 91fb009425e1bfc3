#include "common/read_queue.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <thread>
#include <vector>

#include "common/mutex.h"

namespace tritter {
namespace {

constexpr int kThreads = 16;  // with reads of a megabyte as fast as any number

class ThreadReadQueue final : public ReadQueue {
 public:
  ThreadReadQueue(int descriptor, int depth) : descriptor_(descriptor) {
    for (int i = 0; i < depth; ++i) threads_.emplace_back([this] { Work(); });
  }
  ~ThreadReadQueue() override {
    {
      MutexLock lock(&mu_);
      stop_ = true;
      asked_for_.NotifyAll();
    }
    for (std::thread& thread : threads_) thread.join();
  }

  const char* name() const override { return "pread threads"; }
  int depth() const override { return static_cast<int>(threads_.size()); }

  void Submit(const Read& read) override {
    MutexLock lock(&mu_);
    waiting_.push_back(read);
    asked_for_.NotifyOne();
  }

  Result Wait() override {
    MutexLock lock(&mu_);
    while (ended_.empty()) arrived_.Wait(&mu_);
    const Result result = ended_.front();
    ended_.pop_front();
    return result;
  }

 private:
  void Work() {
    for (;;) {
      Read read;
      {
        MutexLock lock(&mu_);
        while (waiting_.empty() && !stop_) asked_for_.Wait(&mu_);
        if (stop_) return;
        read = waiting_.front();
        waiting_.pop_front();
      }
      const ssize_t bytes =
          pread(descriptor_, read.into, read.bytes, static_cast<off_t>(read.offset));
      const Result result{read.tag, bytes < 0 ? -errno : bytes};
      MutexLock lock(&mu_);
      ended_.push_back(result);
      arrived_.NotifyOne();
    }
  }

  const int descriptor_;
  Mutex mu_;
  CondVar asked_for_, arrived_;
  bool stop_ GUARDED_BY(mu_) = false;
  std::deque<Read> waiting_ GUARDED_BY(mu_);
  std::deque<Result> ended_ GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<ReadQueue> NewThreadReadQueue(int descriptor, int depth) {
  return std::make_unique<ThreadReadQueue>(descriptor, depth);
}

std::unique_ptr<ReadQueue> NewReadQueue(int descriptor, int depth) {
  auto uring = NewUringReadQueue(descriptor, depth);
  return uring.ok() ? *std::move(uring) : NewThreadReadQueue(descriptor, std::min(depth, kThreads));
}

}  // namespace tritter
