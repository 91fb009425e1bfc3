// AdamW with clipping by the global norm and the running average of the weights.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "model/run_spec.h"
#include "worker/training/parallel.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Decay of the running average at the update that makes step `step` (1 for the first): a pure
// function, so that nothing but the step is needed to resume. The window grows with the run until
// it is `window` steps:
//   d = min(1 - 1/window, step / (step + 9))
// so that the average forgets the initial weights however early it is read.
double AverageDecay(int64_t step, double window);

// Weight decay applies to the matrices of the blocks and the head, never to norms, biases or
// embeddings.
bool HasWeightDecay(ParameterKind kind);

// Norm of the whole gradient, summed in fixed order in double.
double GradientNorm(const ParameterStore& parameters, ParallelRows* parallel);

// The first weight or gradient, in canonical order, that holds a NaN or an infinity; "" when there
// is none.
std::string FirstNonFinite(const ParameterStore& parameters);

// One update from the gradients (already summed over the ranks, of norm `gradient_norm`). `step`
// counts from 1.
void AdamWUpdate(const RunSpec& spec, int64_t step, double learning_rate, double gradient_norm,
                 ParameterStore* parameters, ParallelRows* parallel);

}  // namespace tritter
