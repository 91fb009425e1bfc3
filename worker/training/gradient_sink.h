// Where the backward pass puts gradients. The first micro-batch of a step writes, each later one is
// computed apart and added with one float addition per element, so that accumulating micro-batches
// gives the bits of summing ranks.
#pragma once

#include <cstdint>
#include <functional>

#include "worker/training/float_buffer.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Owned by the trainer; used by the thread that runs the backward pass.
class GradientSink {
 public:
  // Called when the gradient of [offset, offset + size) is complete for this rank.
  using Ready = std::function<void(int64_t offset, int64_t size)>;

  explicit GradientSink(ParameterStore* parameters) : parameters_(parameters) {}

  void BeginMicroBatch(bool first, bool last) {
    first_ = first;
    last_ = last;
    sum_size_ = 0;
  }
  void set_ready(Ready ready) { ready_ = std::move(ready); }

  // Memory for the gradient of a range, to be filled completely and given back by Commit before the
  // next Begin.
  float* Begin(int64_t offset, int64_t size) {
    return first_ && !InSum(offset) ? parameters_->gradient() + offset : scratch_.Reserve(size);
  }
  void Commit(int64_t offset, int64_t size);

  // A range whose gradient comes in several parts of one micro-batch (the head and the rows of tied
  // embeddings; chunks of tokens): memory for their sum, its content undefined, which the caller
  // fills or clears first. Until EndSum, Commit of a range inside it adds there, and is not ready.
  // One sum at a time; other ranges may come between.
  float* BeginSum(int64_t offset, int64_t size);
  // The sum that BeginSum(offset, …) began, nullptr where there is none.
  float* OpenSum(int64_t offset) {
    return sum_size_ > 0 && sum_offset_ == offset ? SumData() : nullptr;
  }
  void EndSum();

 private:
  bool InSum(int64_t offset) const {
    return offset >= sum_offset_ && offset < sum_offset_ + sum_size_;
  }
  float* SumData() { return first_ ? parameters_->gradient() + sum_offset_ : sum_.data(); }

  ParameterStore* parameters_;
  FloatBuffer scratch_, sum_;
  int64_t sum_offset_ = 0, sum_size_ = 0;  // of the open sum
  Ready ready_;
  bool first_ = true, last_ = true;
};

}  // namespace tritter
