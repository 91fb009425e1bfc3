#include "inference/streaming/layer_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "inference/streaming/tensor_index.h"

namespace tritter {
namespace {

// Of one read: large enough that the disk's own latency does not count, small enough that many are
// under way.
constexpr uint64_t kBlockBytes = uint64_t{1} << 20;
constexpr int kTagBits = 24;  // of the block within its group, in a read's tag

}  // namespace

absl::StatusOr<std::unique_ptr<LayerStream>> LayerStream::Start(LayerStreamParts parts) {
  std::unique_ptr<LayerStream> stream(new LayerStream(std::move(parts)));
  RETURN_IF_ERROR(stream->Bind());
  stream->thread_ = std::thread([s = stream.get()] { s->Loop(); });
  return stream;
}

LayerStream::LayerStream(LayerStreamParts parts)
    : parts_(std::move(parts)), entries_(EntriesOfLayers(*parts_.header)) {
  checked_.resize(parts_.plan.groups.size());
  MutexLock lock(&mu_);
  stats_.bytes_per_pass = static_cast<int64_t>(parts_.plan.streamed_bytes());
  stats_.source_bytes_per_second = parts_.disk_bytes_per_second;
}

LayerStream::~LayerStream() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

absl::Status LayerStream::Bind() {
  const ModelConfig& config = parts_.header->config;
  const StreamPlan& plan = parts_.plan;
  const TensorIndex index(*parts_.header);
  resident_.resize(static_cast<size_t>(plan.resident_layers));
  for (int64_t i = 0; i < plan.resident_layers; ++i) {
    const auto lookup = [&](const std::string& name) {
      return index.Find(name, parts_.front.data(), plan.front.begin);
    };
    RETURN_IF_ERROR(BindLayer(config, i, lookup, &resident_[static_cast<size_t>(i)]));
  }
  for (size_t slot = 0; slot < streamed_.size(); ++slot) {
    for (const StreamPlan::Group& group : plan.groups) {
      const auto lookup = [&](const std::string& name) {
        return index.Find(name, parts_.slots[slot].data(), group.range.begin);
      };
      for (int64_t i = group.first; i < group.first + group.layers; ++i) {
        RETURN_IF_ERROR(BindLayer(config, i, lookup, &streamed_[slot].emplace_back()));
      }
    }
  }
  return absl::OkStatus();
}

size_t LayerStream::GroupOfLayer(int64_t layer) const {
  const auto& groups = parts_.plan.groups;
  size_t group = 0;
  while (layer >= groups[group].first + groups[group].layers) ++group;
  return group;
}

size_t LayerStream::GroupOfTurnLocked(int64_t turn) const {
  return static_cast<size_t>(first_group_ + turn) % parts_.plan.groups.size();
}

const LayerWeights* LayerStream::Resident(int64_t layer) const {
  return layer < parts_.plan.resident_layers ? &resident_[static_cast<size_t>(layer)] : nullptr;
}

absl::StatusOr<const LayerWeights*> LayerStream::Acquire(int64_t layer) {
  const size_t group = GroupOfLayer(layer);
  MutexLock lock(&mu_);
  const absl::Duration begin = parts_.clock->Monotonic();
  // What went wrong before it was asked for may be over; and after an error the pass begins anew.
  const bool failed = ready_ <= released_ && !failure_.ok();
  if (failed || GroupOfTurnLocked(released_) != group) {
    first_group_ = static_cast<int64_t>(group);
    restart_ = true;
    changed_.NotifyAll();
    while (restart_) changed_.Wait(&mu_);
  }
  while (ready_ <= released_ && failure_.ok()) changed_.Wait(&mu_);
  stats_.waiting += parts_.clock->Monotonic() - begin;
  if (ready_ <= released_) return failure_;
  return &streamed_[static_cast<size_t>(released_ % 2)]
                   [static_cast<size_t>(layer - parts_.plan.resident_layers)];
}

void LayerStream::Release(int64_t layer) {
  const StreamPlan::Group& group = parts_.plan.groups[GroupOfLayer(layer)];
  if (layer != group.first + group.layers - 1) return;  // the next one is in the same buffer
  MutexLock lock(&mu_);
  ++released_;
  changed_.NotifyAll();
}

StreamStats LayerStream::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

void LayerStream::Loop() {
  for (;;) {
    bool restart = false;
    {
      MutexLock lock(&mu_);
      bool more = BeginFetchLocked();
      while (!more && !stop_ && !restart_ && fetches_.empty()) {
        changed_.Wait(&mu_);
        more = BeginFetchLocked();
      }
      if (stop_) return;
      restart = restart_;
    }
    if (restart) {
      Restart();
      continue;
    }
    SubmitBlocks();
    if (!CheckNext()) TakeBlock();
  }
}

void LayerStream::Restart() {
  Abandon();
  next_turn_ = 0;
  MutexLock lock(&mu_);
  ready_ = released_ = 0;
  failure_ = absl::OkStatus();
  restart_ = false;
  changed_.NotifyAll();
}

// Of the next group, when its buffer is free.
bool LayerStream::BeginFetchLocked() {
  if (!failure_.ok() || restart_ || next_turn_ >= released_ + 2) return false;
  const size_t index = GroupOfTurnLocked(next_turn_);
  const StreamPlan::Group& group = parts_.plan.groups[index];
  Fetch fetch;
  fetch.turn = next_turn_++;
  fetch.group = index;
  fetch.range = group.range;
  fetch.into = parts_.slots[static_cast<size_t>(fetch.turn % 2)].data();
  fetch.there.resize((group.range.bytes() + kBlockBytes - 1) / kBlockBytes);
  fetch.next_entry = entries_[static_cast<size_t>(group.first)].begin;
  fetch.end_entry = entries_[static_cast<size_t>(group.first + group.layers - 1)].end;
  fetches_.push_back(std::move(fetch));
  return true;
}

void LayerStream::SubmitBlocks() {
  for (Fetch& fetch : fetches_) {
    while (fetch.submitted < fetch.range.bytes() && !parts_.reader->full()) {
      const uint64_t at = fetch.submitted;
      const uint64_t bytes = std::min(kBlockBytes, fetch.range.bytes() - at);
      const uint64_t tag = static_cast<uint64_t>(fetch.turn) << kTagBits | at / kBlockBytes;
      parts_.reader->Submit({fetch.range.begin + at, bytes, fetch.into + at, tag});
      fetch.submitted += bytes;
    }
  }
}

void LayerStream::TakeBlock() {
  const BlockReader::Ended block = parts_.reader->Wait();
  if (!block.status.ok()) return Publish(block.status);
  const int64_t turn = static_cast<int64_t>(block.tag >> kTagBits);
  Fetch& fetch = fetches_[static_cast<size_t>(turn - fetches_.front().turn)];
  fetch.there[block.tag & ((uint64_t{1} << kTagBits) - 1)] = true;
  const uint64_t before = fetch.contiguous;
  while (fetch.contiguous < fetch.range.bytes() && fetch.there[fetch.contiguous / kBlockBytes])
    fetch.contiguous = std::min(fetch.contiguous + kBlockBytes, fetch.range.bytes());
  MutexLock lock(&mu_);
  stats_.bytes_read += static_cast<int64_t>(fetch.contiguous - before);
}

bool LayerStream::CheckNext() {
  Fetch& fetch = fetches_.front();
  if (fetch.next_entry < fetch.end_entry) {
    const TpackEntry& entry = parts_.header->entries[fetch.next_entry];
    const uint64_t end =
        std::max(entry.offset + entry.length, entry.scale_offset + entry.scale_count * 4);
    if (end - fetch.range.begin > fetch.contiguous) return false;
    const absl::Status status = CheckEntry(fetch, fetch.next_entry++);
    if (!status.ok()) Publish(status);
    return true;
  }
  if (fetch.contiguous < fetch.range.bytes()) return false;
  Publish(CheckGroup(fetch));
  return true;
}

absl::Status LayerStream::CheckEntry(const Fetch& fetch, size_t index) const {
  const TpackEntry& entry = parts_.header->entries[index];
  const TpackTensor tensor = TensorAt(entry, fetch.into, fetch.range.begin);
  RETURN_IF_ERROR(VerifyChecksums(entry, tensor, parts_.path));
  if (checked_[fetch.group]) return absl::OkStatus();
  return VerifyTensorValues(tensor, absl::StrCat(parts_.path, ": offset ", entry.offset));
}

absl::Status LayerStream::CheckGroup(const Fetch& fetch) const {
  if (checked_[fetch.group]) return absl::OkStatus();
  const StreamPlan::Group& group = parts_.plan.groups[fetch.group];
  for (int64_t i = group.first; i < group.first + group.layers; ++i) {
    const LayerWeights& weights = streamed_[static_cast<size_t>(fetch.turn % 2)]
                                           [static_cast<size_t>(i - parts_.plan.resident_layers)];
    RETURN_IF_ERROR(CheckLayer(weights, i, parts_.header->config.layers, *parts_.kernel));
  }
  return absl::OkStatus();
}

// The first group under way is there, or nothing more will come.
void LayerStream::Publish(const absl::Status& status) {
  if (status.ok()) {
    checked_[fetches_.front().group] = true;
    fetches_.pop_front();
  } else {
    Abandon();
  }
  MutexLock lock(&mu_);
  if (status.ok()) ++ready_;
  failure_ = status;
  changed_.NotifyAll();
}

void LayerStream::Abandon() {
  while (parts_.reader->under_way() > 0) (void)parts_.reader->Wait();
  fetches_.clear();
}

}  // namespace tritter
