#include "worker/batch_prefetcher.h"

#include <utility>

namespace tritter {

BatchPrefetcher::BatchPrefetcher(EpochData* data)
    : data_(data), share_(absl::UnknownError("nothing was read")), thread_([this] { Loop(); }) {}

BatchPrefetcher::~BatchPrefetcher() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void BatchPrefetcher::Start(const Request& request) {
  MutexLock lock(&mu_);
  wanted_ = request;
  changed_.NotifyAll();
}

absl::StatusOr<EpochData::Share> BatchPrefetcher::Take(const Request& request) {
  {
    MutexLock lock(&mu_);
    while (wanted_.has_value() || reading_) changed_.Wait(&mu_);
    if (std::exchange(read_, std::nullopt) == request) return std::move(share_);
  }
  return Read(request);
}

absl::StatusOr<EpochData::Share> BatchPrefetcher::Read(const Request& r) {
  return data_->Read(r.first_slot, r.global_batch, r.first_position, r.count);
}

void BatchPrefetcher::Loop() {
  while (true) {
    Request request;
    {
      MutexLock lock(&mu_);
      while (!stop_ && !wanted_.has_value()) changed_.Wait(&mu_);
      if (stop_) return;
      request = *std::exchange(wanted_, std::nullopt);
      reading_ = true;
    }
    absl::StatusOr<EpochData::Share> share = Read(request);
    MutexLock lock(&mu_);
    share_ = std::move(share);
    read_ = request;
    reading_ = false;
    changed_.NotifyAll();
  }
}

}  // namespace tritter
