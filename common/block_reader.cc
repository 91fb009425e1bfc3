#include "common/block_reader.h"

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/direct_file.h"
#include "common/errno_status.h"

namespace tritter {
namespace {

constexpr int kTries = 100;  // of a read that the system interrupts or has no room for

}  // namespace

void BlockReader::Submit(const Block& block) {
  State& state = under_way_[block.tag];
  state.block = block;
  state.wanted = std::min(block.bytes, file_bytes_ - std::min<uint64_t>(file_bytes_, block.offset));
  SubmitRest(state);
}

void BlockReader::SubmitRest(const State& state) {
  queue_->Submit({state.block.offset + state.done, state.block.bytes - state.done,
                  state.block.into + state.done, state.block.tag});
}

BlockReader::Ended BlockReader::Wait() {
  for (;;) {
    const ReadQueue::Result result = queue_->Wait();
    const auto found = under_way_.find(result.tag);
    const absl::Status status = Advance(&found->second, result.bytes);
    if (!status.ok() || found->second.done >= found->second.wanted) {
      under_way_.erase(found);
      return {result.tag, status};
    }
    SubmitRest(found->second);
  }
}

absl::Status BlockReader::Advance(State* state, int64_t result) const {
  const uint64_t at = state->block.offset + state->done;
  if (result == -EINTR || result == -EAGAIN) {
    if (++state->tries < kTries) return absl::OkStatus();
  }
  if (result < 0) {
    return ErrnoStatus(
        absl::StrCat("read of ", state->wanted - state->done, " bytes at offset ", at), path_,
        static_cast<int>(-result));
  }
  const uint64_t have = state->done + static_cast<uint64_t>(result);
  if (have >= state->wanted) {
    state->done = have;
    return absl::OkStatus();
  }
  // Direct reads go on at a whole block only; less than that is the end of the file.
  const uint64_t whole = have / DirectFile::kAlignment * DirectFile::kAlignment;
  if (whole == state->done) {
    return absl::DataLossError(
        absl::StrCat(path_, ": offset ", state->block.offset + have,
                     ": the file ends here, it had ", file_bytes_,
                     " bytes when it was opened; it was cut while in use: put the whole file back "
                     "(write another one and rename it over) and load it again"));
  }
  state->done = whole;
  state->tries = 0;
  return absl::OkStatus();
}

}  // namespace tritter
