#include "worker/training/gradient_sink.h"

#include "kernels/float_ops.h"

namespace tritter {

void GradientSink::Commit(int64_t offset, int64_t size) {
  if (!first_) AddRow(scratch_.data(), size, parameters_->gradient() + offset);
  if (last_ && ready_) ready_(offset, size);
}

}  // namespace tritter
