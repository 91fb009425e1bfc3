// What a run that trains is doing now, in one sentence. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tritter {

struct TrainingView {
  int64_t step = 0, total_steps = 0;  // optimiser steps, as last reported
  uint64_t epoch = 0;
  std::vector<std::string> members;  // of the epoch, by rank
  std::string stopping = {};         // why its members are told that they are done; empty: not yet
  int64_t writing_checkpoint = 0;    // step of one that is on its way; 0: none
  int64_t next_checkpoint = 0;       // step; 0: none is to come
  std::string trouble = {};          // what keeps a checkpoint from being committed; empty: nothing
};

// "step 412 of 1200, epoch 2 of w0 and w1, next checkpoint at step 600"
std::string TrainingWords(const TrainingView& view);

}  // namespace tritter
