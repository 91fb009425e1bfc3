// Layers that are read from a .tpack for every pass, group by group, through two buffers: while one
// group is computed with, the next is read. What is read is held against its checksums every time.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/block_reader.h"
#include "common/clock.h"
#include "common/direct_file.h"
#include "common/huge_buffer.h"
#include "common/mutex.h"
#include "inference/layer_source.h"
#include "inference/streaming/stream_plan.h"
#include "model/tpack_format.h"

namespace tritter {

// What a LayerStream is made of.
struct LayerStreamParts {
  std::string path;
  const TpackHeader* header = nullptr;  // outlives the stream
  StreamPlan plan;
  const TernaryKernel* kernel = nullptr;
  double disk_bytes_per_second = 0;     // for stats()
  HugeBuffer front, back;               // of the plan, read and checked
  std::array<HugeBuffer, 2> slots;      // plan.buffer_bytes each
  std::unique_ptr<DirectFile> disk;     // what the reader reads, where it is a file
  std::unique_ptr<BlockReader> reader;  // reads into the slots: goes before them
  Clock* clock = Clock::Real();
};

// A thread of its own reads ahead, across the end of a pass: between two tokens the first groups of
// the next are there already. Of a group's first reading the codes are checked too, and blocks of
// the first and last layer against the scalar reference.
class LayerStream final : public LayerSource {
 public:
  // Errors: DataLoss (a tensor is not what the configuration asks for).
  static absl::StatusOr<std::unique_ptr<LayerStream>> Start(LayerStreamParts parts);
  ~LayerStream() override;

  const LayerWeights* Resident(int64_t layer) const override;
  // Errors: DataLoss (the file was cut or changed), Internal (the disk; the kernel disagrees with
  // the reference), each with file and offset. The next pass tries again.
  absl::StatusOr<const LayerWeights*> Acquire(int64_t layer) override;
  void Release(int64_t layer) override;
  StreamStats stats() const override;

 private:
  // Groups are counted from the start of the stream (or its restart), over all passes: turn t is
  // group (first_group_ + t) % groups, in slot t % 2.
  struct Fetch {
    int64_t turn = 0;
    size_t group = 0;
    FileRange range;
    uint8_t* into = nullptr;
    uint64_t submitted = 0;                // bytes
    std::vector<bool> there;               // by block
    uint64_t contiguous = 0;               // bytes from the start that are there
    size_t next_entry = 0, end_entry = 0;  // tensors that are not checked yet
  };

  explicit LayerStream(LayerStreamParts parts);
  absl::Status Bind();
  size_t GroupOfLayer(int64_t layer) const;
  size_t GroupOfTurnLocked(int64_t turn) const REQUIRES(mu_);

  // Of the reading thread. Each does a bounded piece of work, so that the disk never waits for it.
  void Loop();
  void Restart();
  bool BeginFetchLocked() REQUIRES(mu_);
  void SubmitBlocks();
  bool CheckNext();  // false: nothing can be checked at the moment
  void TakeBlock();
  absl::Status CheckEntry(const Fetch& fetch, size_t entry) const;
  absl::Status CheckGroup(const Fetch& fetch) const;
  void Publish(const absl::Status& status);
  void Abandon();

  LayerStreamParts parts_;
  const std::vector<EntryRange> entries_;              // by layer
  std::vector<LayerWeights> resident_;                 // by layer
  std::array<std::vector<LayerWeights>, 2> streamed_;  // of the others, where they are in each slot

  std::deque<Fetch> fetches_;  // under way, at most two
  std::vector<bool> checked_;  // by group: its codes were
  int64_t next_turn_ = 0;

  mutable Mutex mu_;
  CondVar changed_;
  bool stop_ GUARDED_BY(mu_) = false;
  bool restart_ GUARDED_BY(mu_) = false;
  int64_t first_group_ GUARDED_BY(mu_) = 0;
  int64_t ready_ GUARDED_BY(mu_) = 0;     // turns that have been read and checked
  int64_t released_ GUARDED_BY(mu_) = 0;  // turns that have been computed with
  absl::Status failure_ GUARDED_BY(mu_);  // of turn ready_
  StreamStats stats_ GUARDED_BY(mu_);

  std::thread thread_;
};

}  // namespace tritter
