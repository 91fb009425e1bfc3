#include "worker/testing/fake_collective.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

template <typename T>
void Sum(const std::vector<void*>& buffers, int64_t count, int) {
  T* first = static_cast<T*>(buffers[0]);
  for (size_t r = 1; r < buffers.size(); ++r) {
    const T* values = static_cast<const T*>(buffers[r]);
    for (int64_t i = 0; i < count; ++i) first[i] += values[i];
  }
  for (size_t r = 1; r < buffers.size(); ++r) std::memcpy(buffers[r], first, count * sizeof(T));
}

void Copy(const std::vector<void*>& buffers, int64_t bytes, int root) {
  for (void* buffer : buffers) {
    if (buffer != buffers[root]) std::memcpy(buffer, buffers[root], bytes);
  }
}

// Each rank's part stands in its place of its own buffer.
void Exchange(const std::vector<void*>& buffers, int64_t bytes, int) {
  for (size_t from = 0; from < buffers.size(); ++from) {
    const int64_t at = static_cast<int64_t>(from) * bytes;
    const char* part = static_cast<const char*>(buffers[from]) + at;
    for (size_t to = 0; to < buffers.size(); ++to) {
      if (to != from) std::memcpy(static_cast<char*>(buffers[to]) + at, part, bytes);
    }
  }
}

class FakeCollective : public Collective {
 public:
  FakeCollective(std::shared_ptr<FakeGroup> group, int rank)
      : group_(std::move(group)), rank_(rank) {}
  ~FakeCollective() override { group_->Leave(rank_); }
  int rank() const override { return rank_; }
  int world_size() const override { return group_->world_size(); }
  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count, int) override {
    return std::make_unique<Pending>(group_, rank_,
                                     group_->Join(rank_, data, count, 0, Sum<float>));
  }
  absl::Status AllReduceSum(double* data, int64_t count) override {
    return group_->Wait(rank_, group_->Join(rank_, data, count, 0, Sum<double>));
  }
  absl::Status Broadcast(void* data, int64_t bytes, int root) override {
    if (root < 0 || root >= world_size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("root ", root, " of ", world_size(), " ranks"));
    }
    return group_->Wait(rank_, group_->Join(rank_, data, bytes, root, Copy));
  }
  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    std::memcpy(static_cast<char*>(all) + rank_ * bytes, own, bytes);
    return group_->Wait(rank_, group_->Join(rank_, all, bytes, 0, Exchange));
  }
  void Abort(absl::string_view reason) override { group_->Abort(rank_, std::string(reason)); }

 private:
  class Pending : public Work {
   public:
    Pending(std::shared_ptr<FakeGroup> group, int rank, int64_t operation)
        : group_(std::move(group)), rank_(rank), operation_(operation) {}
    absl::Status Wait() override { return group_->Wait(rank_, operation_); }

   private:
    std::shared_ptr<FakeGroup> group_;
    int rank_;
    int64_t operation_;
  };
  std::shared_ptr<FakeGroup> group_;
  int rank_;
};

}  // namespace

int64_t FakeGroup::Join(int rank, void* buffer, int64_t count, int root, Run run) {
  MutexLock lock(&mu_);
  const int64_t number = next_[rank]++;
  Operation& operation = operations_[number];
  operation.buffers.resize(world_size_);
  operation.buffers[rank] = buffer;
  if (++operation.arrived == world_size_ && !broken_) {
    run(operation.buffers, count, root);
    operation.done = true;
    changed_.NotifyAll();
  }
  return number;
}

absl::Status FakeGroup::Wait(int rank, int64_t operation) {
  MutexLock lock(&mu_);
  while (status_[rank].ok() && !operations_[operation].done) changed_.Wait(&mu_);
  return operations_[operation].done ? absl::OkStatus() : status_[rank];
}

void FakeGroup::Abort(int rank, const std::string& reason) {
  MutexLock lock(&mu_);
  Break(absl::StrCat("rank ", rank, " has aborted"));
  status_[rank] = absl::AbortedError(reason);
}

void FakeGroup::Leave(int rank) {
  MutexLock lock(&mu_);
  Break(absl::StrCat("rank ", rank, " has left the group"));
}

void FakeGroup::Break(const std::string& reason) {
  broken_ = true;
  for (absl::Status& status : status_) {
    if (status.ok()) status = absl::UnavailableError(reason);
  }
  changed_.NotifyAll();
}

std::vector<std::unique_ptr<Collective>> MakeFakeGroup(int world_size) {
  auto group = std::make_shared<FakeGroup>(world_size);
  std::vector<std::unique_ptr<Collective>> members;
  for (int rank = 0; rank < world_size; ++rank)
    members.push_back(std::make_unique<FakeCollective>(group, rank));
  return members;
}

}  // namespace tritter
