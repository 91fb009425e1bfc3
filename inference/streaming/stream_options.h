// How much of a model's weights may lie in the memory of what computes, and how the rest gets
// there.
#pragma once

#include <cstdint>

namespace tritter {

struct StreamOptions {
  // Of a model, in memory: this machine's, or the GPU's where one computes. 0: all of it.
  int64_t max_weight_bytes = 0;
  int64_t layers = 4;  // of a group, which is fetched while the one before computes
};

}  // namespace tritter
