// One update of every parameter: AdamW or Muon by group (model/parameter_groups.h), with clipping
// by the global norm and the running average of the weights.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/training_ops.h"
#include "model/run_spec.h"
#include "worker/training/optimizer_state.h"
#include "worker/training/parallel.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Decay of the running average at the update that makes step `step` (1 for the first): a pure
// function, so that nothing but the step is needed to resume. The window grows with the run until
// it is `window` steps:
//   d = min(1 - 1/window, step / (step + 9))
// so that the average forgets the initial weights however early it is read.
double AverageDecay(int64_t step, int64_t window);

// What an update takes from the run and its step; learning rate and weight decay are a group's.
AdamWStep AdamWStepOf(const RunSpec& spec, int64_t step, double gradient_norm);

// Norm of the whole gradient, summed in fixed order in double.
double GradientNorm(const ParameterStore& parameters, ParallelRows* parallel);

// Overwrites a matrix [rows, cols] by an approximation of the nearest (semi-)orthogonal one.
using Orthogonalise = std::function<void(float* matrix, int64_t rows, int64_t cols)>;

// Owned by the trainer; one thread calls, `parallel` helps. The result does not depend on the
// number of threads: with Muon each works on matrices of its own.
class Optimizer {
 public:
  Optimizer(const RunSpec& spec, Orthogonalise orthogonalise, ParallelRows* parallel)
      : spec_(spec),
        orthogonalise_(std::move(orthogonalise)),
        parallel_(parallel),
        directions_(parallel->parts()) {}

  // One update from the gradients (already summed over the ranks, of norm `gradient_norm`) of every
  // parameter that `state` keeps. `step` counts from 1. The others' weights stay; the caller
  // fetches them.
  void Update(int64_t step, double learning_rate, double gradient_norm, ParameterStore* parameters,
              OptimizerState* state);

 private:
  // body(first, count) over ranges of [0, size), each but the last a multiple of the unit in which
  // flat arrays are split over threads.
  void Split(int64_t size, const std::function<void(int64_t first, int64_t count)>& body);

  // Muon of the parameters at `indices` of the table. `weights`: of all parameters.
  void UpdateMatrices(const std::vector<size_t>& indices, double learning_rate,
                      const AdamWStep& step, const ParameterStore& parameters, float* weights,
                      OptimizerState* state);

  const RunSpec spec_;
  const Orthogonalise orthogonalise_;
  ParallelRows* const parallel_;
  std::vector<FloatBuffer> directions_;  // Muon's, of one matrix, by thread
};

}  // namespace tritter
