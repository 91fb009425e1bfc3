// A ReadQueue over bytes in memory that answers as it is told: in parts, out of order, with errors.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/read_queue.h"

namespace tritter {

class ScriptedReadQueue final : public ReadQueue {
 public:
  // What a read gets: a number of bytes up to those asked for, or -errno; called in the order of
  // the answers.
  using Answer = std::function<int64_t(const Read& read)>;
  // `file` must outlive the queue and may change meanwhile.
  ScriptedReadQueue(const std::string* file, int depth, Answer answer)
      : file_(file), depth_(depth), answer_(std::move(answer)) {}

  const char* name() const override { return "scripted"; }
  int depth() const override { return depth_; }
  void Submit(const Read& read) override { under_way_.push_back(read); }
  Result Wait() override {  // the last one first
    const Read read = under_way_.back();
    under_way_.pop_back();
    int64_t bytes = answer_(read);
    if (bytes > 0) {
      const uint64_t there = file_->size() - std::min<uint64_t>(file_->size(), read.offset);
      bytes =
          std::min<int64_t>({bytes, static_cast<int64_t>(there), static_cast<int64_t>(read.bytes)});
      std::memcpy(read.into, file_->data() + read.offset, static_cast<size_t>(bytes));
    }
    return {read.tag, bytes};
  }

 private:
  const std::string* const file_;
  const int depth_;
  const Answer answer_;
  std::vector<Read> under_way_;
};

}  // namespace tritter
