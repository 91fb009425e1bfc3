// Splits rows over a few threads. LibTorch's own loops are serial in units that are built without
// OpenMP.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "common/mutex.h"

namespace tritter {

// Owned by the trainer. Run is called by one thread at a time; with one thread it calls straight
// through.
class ParallelRows {
 public:
  using Body = std::function<void(int part, int64_t first, int64_t end)>;
  explicit ParallelRows(int threads);
  ~ParallelRows();
  ParallelRows(const ParallelRows&) = delete;
  ParallelRows& operator=(const ParallelRows&) = delete;

  int parts() const { return parts_; }
  // body(part, first, end) for every part's share of [0, rows), the same shares every time; returns
  // when all are done.
  void Run(int64_t rows, const Body& body);

 private:
  void Work(int part);

  const int parts_;
  Mutex mu_;
  CondVar changed_;
  const Body* body_ GUARDED_BY(mu_) = nullptr;
  int64_t rows_ GUARDED_BY(mu_) = 0;
  uint64_t round_ GUARDED_BY(mu_) = 0;
  int running_ GUARDED_BY(mu_) = 0;
  bool stop_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace tritter
