// The engine's figures as metrics of the catalogue.
#pragma once

#include <map>
#include <string>

#include "inference/engine_observer.h"
#include "inference/request.h"
#include "monitoring/registry.h"

namespace tritter {

// Thread-safe. Lives as long as the engine that reports to it. Of several engines in one registry
// the figures add up; what an engine holds goes with it.
class EngineMetrics : public EngineObserver {
 public:
  EngineMetrics(Registry* registry, const std::string& model, const std::string& kernel,
                const RequestLimits& limits);
  void OnStep(const StepReport& report) override;
  void OnFinish(const RequestUsage& usage, FinishReason reason) override;
  void OnRefused() override { refused_.Increment(); }

 private:
  // One engine's part of a gauge.
  class Share {
   public:
    explicit Share(Gauge gauge) : gauge_(gauge) {}
    ~Share() { Set(0); }
    void Set(double value) {
      gauge_.Add(value - value_);
      value_ = value;
    }

   private:
    Gauge gauge_;
    double value_ = 0;
  };

  // Of the weights of a model whose layers are streamed; all zero of others.
  class Stream {
   public:
    Stream(Registry* registry, const std::string& model);
    void Report(const StreamStats& stats, absl::Duration step);

   private:
    Counter read_bytes_, wait_seconds_;
    Share achieved_, possible_, step_bytes_;
    StreamStats last_;
  };

  const double page_bytes_;
  Share running_, waiting_, kv_used_, kv_capacity_, model_;
  Counter ok_, cancelled_, refused_, failed_, prompt_tokens_, cached_tokens_, generated_tokens_;
  Histogram first_token_, inter_token_, queue_, batch_;
  Stream stream_;
};

}  // namespace tritter
