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
  }
  void set_ready(Ready ready) { ready_ = std::move(ready); }

  // Memory for the gradient of a range, to be filled completely and given back by Commit before the
  // next Begin.
  float* Begin(int64_t offset, int64_t size) {
    return first_ ? parameters_->gradient() + offset : scratch_.Reserve(size);
  }
  void Commit(int64_t offset, int64_t size);

 private:
  ParameterStore* parameters_;
  FloatBuffer scratch_;
  Ready ready_;
  bool first_ = true, last_ = true;
};

}  // namespace tritter
