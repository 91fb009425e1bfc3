#include "worker/training/gradient_sink.h"

#include "kernels/float_ops.h"

namespace tritter {

void GradientSink::Commit(int64_t offset, int64_t size) {
  if (InSum(offset)) {
    AddRow(scratch_.data(), size, SumData() + (offset - sum_offset_));
    return;
  }
  if (!first_) AddRow(scratch_.data(), size, parameters_->gradient() + offset);
  if (last_ && ready_) ready_(offset, size);
}

float* GradientSink::BeginSum(int64_t offset, int64_t size) {
  sum_offset_ = offset;
  sum_size_ = size;
  if (!first_) sum_.Reserve(size);
  return SumData();
}

void GradientSink::EndSum() {
  if (!first_) AddRow(sum_.data(), sum_size_, parameters_->gradient() + sum_offset_);
  if (last_ && ready_) ready_(sum_offset_, sum_size_);
  sum_size_ = 0;
}

}  // namespace tritter
