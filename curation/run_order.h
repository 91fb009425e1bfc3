// The sample order that a run's configuration asks for.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "curation/sample_order.h"
#include "model/run_spec.h"

namespace tritter {

// `samples`: of each source of the run, at its sequence length. The weights change at the stages'
// first slots. Errors: those of SampleOrder::Create.
absl::StatusOr<SampleOrder> RunOrder(const RunSpec& spec, const std::vector<uint64_t>& samples);

}  // namespace tritter
