#include "curation/run_order.h"

#include <utility>

namespace tritter {

absl::StatusOr<SampleOrder> RunOrder(const RunSpec& spec, const std::vector<uint64_t>& samples) {
  std::vector<OrderedSource> sources;
  for (size_t i = 0; i < samples.size(); ++i) sources.push_back({spec.sources[i].name, samples[i]});
  std::vector<MixStage> stages = {{0, WeightsAt(spec, 0)}};
  for (const StageSpec& stage : spec.stages) {
    if (stage.from == 0) continue;  // in force from the beginning: said above
    stages.push_back(
        {static_cast<uint64_t>(stage.from * spec.global_batch), WeightsAt(spec, stage.from)});
  }
  return SampleOrder::Create(spec.seed, std::move(sources), std::move(stages));
}

}  // namespace tritter
