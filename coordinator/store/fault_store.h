// Wraps a store and lets single writes fail, for tests: refused (nothing applied) or applied with
// the answer lost.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "coordinator/store/store.h"

namespace tritter {

enum class StoreFault {
  kRefuse,       // the disk is full: ResourceExhausted, nothing applied
  kLoseRequest,  // Unavailable, nothing applied: the way to it broke
  kLoseAnswer,   // applied, but the caller sees Unavailable: as when the process dies right after
                 // the commit
  kLoseTouch,    // as that, and the next read fails too
};

// Thread-safe as the base, which it does not own.
class FaultStore : public Store {
 public:
  explicit FaultStore(Store* base) : base_(base) {}

  // The Apply that is `nth` from now (0: the next) fails; with `sticky` all later ones too.
  void FailApply(int64_t nth, StoreFault fault, bool sticky = false);
  void Heal() { at_ = -1; }
  // Called before each write and read of what is in it: any may take long, so that nobody may hold
  // a lock then that the hook takes. Set before the store is shared by threads.
  void OnAccess(std::function<void()> hook) { on_access_ = std::move(hook); }
  int64_t applies() const { return count_; }

  absl::Status Apply(const WriteBatch& batch) override;
  absl::StatusOr<std::string> StoreId() override {
    return Read([&] { return base_->StoreId(); });
  }
  absl::StatusOr<std::vector<RunRecord>> Runs() override {
    return Read([&] { return base_->Runs(); });
  }
  absl::StatusOr<std::vector<EpochRecord>> LiveEpochs() override {
    return Read([&] { return base_->LiveEpochs(); });
  }
  absl::StatusOr<std::vector<EpochRecord>> Epochs(const std::string& run_id,
                                                  int64_t limit) override {
    return Read([&] { return base_->Epochs(run_id, limit); });
  }
  absl::StatusOr<LastEpochs> Last(const std::string& run_id) override {
    return Read([&] { return base_->Last(run_id); });
  }
  absl::StatusOr<std::vector<v1::Plan>> Plans(const std::string& run_id, uint64_t epoch) override {
    return Read([&] { return base_->Plans(run_id, epoch); });
  }
  absl::StatusOr<std::vector<ShareRecord>> Shares(const std::string& run_id,
                                                  uint64_t epoch) override {
    return Read([&] { return base_->Shares(run_id, epoch); });
  }
  absl::StatusOr<std::vector<v1::Checkpoint>> Checkpoints(const std::string& run_id) override {
    return Read([&] { return base_->Checkpoints(run_id); });
  }
  absl::StatusOr<std::vector<v1::Artifact>> Artifacts(const std::string& run_id) override {
    return Read([&] { return base_->Artifacts(run_id); });
  }
  absl::StatusOr<int64_t> LastEventId() override {
    return Read([&] { return base_->LastEventId(); });
  }
  absl::StatusOr<std::vector<v1::Event>> Events(const std::string& run_id, int64_t after_id,
                                                int64_t limit) override {
    return Read([&] { return base_->Events(run_id, after_id, limit); });
  }
  absl::StatusOr<std::vector<v1::StepMetrics>> Metrics(const std::string& run_id, int64_t first,
                                                       int64_t last, int64_t limit) override {
    return Read([&] { return base_->Metrics(run_id, first, last, limit); });
  }
  absl::StatusOr<int64_t> SupersededSteps(const std::string& run_id) override {
    return Read([&] { return base_->SupersededSteps(run_id); });
  }
  absl::StatusOr<std::vector<v1::EvaluationPoint>> Evaluations(const std::string& run_id,
                                                               int64_t first, int64_t last,
                                                               int64_t limit) override {
    return Read([&] { return base_->Evaluations(run_id, first, last, limit); });
  }
  absl::StatusOr<std::optional<IdempotencyRecord>> FindKey(const std::string& key) override {
    return Read([&] { return base_->FindKey(key); });
  }
  absl::StatusOr<bool> RequestSeen(const RequestRecord& request) override {
    return Read([&] { return base_->RequestSeen(request); });
  }
  absl::StatusOr<int64_t> Bytes() override {
    return Read([&] { return base_->Bytes(); });
  }
  absl::StatusOr<std::vector<LogRecord>> LogLines(const std::string& run_id, int64_t after,
                                                  int64_t tail) override {
    return Read([&] { return base_->LogLines(run_id, after, tail); });
  }

 protected:
  // Before every read; an error is its answer.
  virtual absl::Status AtRead();

 private:
  template <typename Reading>
  auto Read(const Reading& reading) -> decltype(reading()) {
    if (on_access_) on_access_();
    if (absl::Status status = AtRead(); !status.ok()) return status;
    return reading();
  }

  Store* const base_;
  std::function<void()> on_access_;
  std::atomic<int64_t> count_{0};
  std::atomic<int64_t> at_{-1};
  std::atomic<bool> sticky_{false};
  std::atomic<bool> out_of_touch_{false};
  std::atomic<StoreFault> fault_{StoreFault::kRefuse};
};

}  // namespace tritter
