// Whole blocks of one file over a ReadQueue: what comes in parts is asked for again, and what does
// not come is a status that names file and offset.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/read_queue.h"

namespace tritter {

// Used by one thread.
class BlockReader {
 public:
  // Offsets, lengths and memory of direct reads are multiples of DirectFile::kAlignment; a block
  // may reach past the end of the file and ends there.
  using Block = ReadQueue::Read;
  struct Ended {
    uint64_t tag = 0;
    // OK: all bytes of the block that the file has are there. DataLoss: the file has become shorter
    // than `file_bytes`; else what the system says.
    absl::Status status;
  };

  BlockReader(std::string path, uint64_t file_bytes, std::unique_ptr<ReadQueue> queue)
      : path_(std::move(path)), file_bytes_(file_bytes), queue_(std::move(queue)) {}

  const ReadQueue& queue() const { return *queue_; }
  int under_way() const { return static_cast<int>(under_way_.size()); }
  bool full() const { return under_way() >= queue_->depth(); }
  // Tags of blocks under way differ. Not to be called when full().
  void Submit(const Block& block);
  // Blocks until a block under way has ended; there must be one.
  Ended Wait();

 private:
  struct State {
    Block block;
    uint64_t wanted = 0, done = 0;  // bytes
    int tries = 0;                  // without progress
  };
  void SubmitRest(const State& state);
  absl::Status Advance(State* state, int64_t result) const;

  const std::string path_;
  const uint64_t file_bytes_;
  const std::unique_ptr<ReadQueue> queue_;
  std::map<uint64_t, State> under_way_;  // by tag
};

}  // namespace tritter
