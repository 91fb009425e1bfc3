// The engine's figures as metrics of the catalogue.
#pragma once

#include <map>
#include <string>

#include "inference/engine_observer.h"
#include "inference/request.h"
#include "monitoring/registry.h"

namespace tritter {

// Thread-safe. Lives as long as the engine that reports to it.
class EngineMetrics : public EngineObserver {
 public:
  EngineMetrics(Registry* registry, const std::string& model, const std::string& kernel,
                const RequestLimits& limits);
  void OnStep(const StepReport& report) override;
  void OnFinish(const RequestUsage& usage, FinishReason reason) override;
  void OnRefused() override { refused_.Increment(); }

 private:
  const double page_bytes_;
  Gauge running_, waiting_, kv_used_;
  Counter ok_, cancelled_, refused_, failed_, prompt_tokens_, cached_tokens_, generated_tokens_;
  Histogram first_token_, inter_token_, queue_, batch_;
};

}  // namespace tritter
