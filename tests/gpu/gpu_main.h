// The GPU of a test of this folder. Its main ends with 77 where there is none.
#pragma once

#include "worker/training/formula/device_trainer.h"

namespace tritter {

// The first CUDA device with the CUDA kernels.
TrainingDevice GpuUnderTest(bool bf16);

}  // namespace tritter
