#include "worker/training/gradient_reducer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

GradientReducer::GradientReducer(const std::vector<ParameterSlot>& slots, float* gradient,
                                 Collective* collective, const Buckets& buckets, int device)
    : gradient_(gradient), collective_(collective), in_order_(buckets.in_order), device_(device) {
  for (const ParameterSlot& slot : slots) {
    if (buckets_.empty() || buckets_.back().size + slot.size > buckets.floats) {
      buckets_.emplace_back();
      buckets_.back().offset = slot.offset;
    }
    buckets_.back().size += slot.size;
  }
}

void GradientReducer::Rebind(Collective* collective) {
  for (Bucket& bucket : buckets_) bucket.work = nullptr;
  collective_ = collective;
}

void GradientReducer::BeginStep() {
  status_ = absl::OkStatus();
  left_ = buckets_.size();
  for (Bucket& bucket : buckets_) {
    bucket.missing = bucket.size;
    bucket.work = nullptr;
  }
}

void GradientReducer::Ready(int64_t offset, int64_t size) {
  if (collective_->world_size() == 1) return;
  for (Bucket& bucket : buckets_) {
    // Stacked matrices may lie across a border.
    const int64_t overlap =
        std::min(offset + size, bucket.offset + bucket.size) - std::max(offset, bucket.offset);
    if (overlap <= 0) continue;
    bucket.missing -= overlap;
    if (bucket.missing == 0 && !in_order_) Start(&bucket);
  }
  if (!in_order_) return;
  for (; left_ > 0 && buckets_[left_ - 1].missing == 0; --left_) Start(&buckets_[left_ - 1]);
}

void GradientReducer::Start(Bucket* bucket) {
  if (!status_.ok()) return;
  absl::StatusOr<std::unique_ptr<Collective::Work>> work =
      collective_->AllReduceSum(gradient_ + bucket->offset, bucket->size, device_);
  if (work.ok()) {
    bucket->work = *std::move(work);
  } else {
    status_ = work.status();
  }
}

absl::Status GradientReducer::Finish() {
  if (collective_->world_size() == 1) return absl::OkStatus();
  for (Bucket& bucket : buckets_) {
    if (bucket.work == nullptr) {
      if (status_.ok()) {
        status_ = absl::InternalError(absl::StrCat("gradient bucket at ", bucket.offset, " lacks ",
                                                   bucket.missing, " values"));
      }
      continue;
    }
    const absl::Status done = bucket.work->Wait();
    if (status_.ok()) status_ = done;
    bucket.work = nullptr;
  }
  return status_;
}

}  // namespace tritter
