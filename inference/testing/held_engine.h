// Stops an engine between two tokens, so that a test decides what waits and what runs.
#pragma once

#include <memory>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/engine.h"

namespace tritter {

// From the first step on the engine stands still until this is destroyed. The engine must outlive
// it.
class HeldEngine {
 public:
  explicit HeldEngine(Engine* engine) : engine_(engine), gate_(std::make_shared<Gate>()) {
    engine_->SetObserver(gate_);
    Add();
    MutexLock lock(&gate_->mu);
    while (!gate_->reached) gate_->changed.Wait(&gate_->mu);
  }
  ~HeldEngine() { Open(); }
  void Open() {
    MutexLock lock(&gate_->mu);
    gate_->open = true;
    gate_->changed.NotifyAll();
  }
  // Requests that wait behind the one that is held.
  void FillQueue(int count) {
    for (int i = 0; i < count; ++i) Add();
  }

 private:
  struct Gate : EngineObserver {
    void OnStep(const StepReport&) override {
      MutexLock lock(&mu);
      reached = true;
      changed.NotifyAll();
      while (!open) changed.Wait(&mu);
    }
    void OnFinish(const RequestUsage&, FinishReason) override {}
    void OnRefused() override {}
    Mutex mu;
    CondVar changed;
    bool reached GUARDED_BY(mu) = false, open GUARDED_BY(mu) = false;
  };
  void Add() {
    GenerateParams params;
    params.prompt = {kBosId};
    params.max_tokens = 1;
    auto generation = engine_->Generate(params);
    ASSERT_OK(generation.status());
    generations_.push_back(*std::move(generation));
  }

  Engine* const engine_;
  const std::shared_ptr<Gate> gate_;
  std::vector<std::unique_ptr<Generation>> generations_;
};

// An engine that takes its time for every step, as a large model does.
struct SlowSteps : EngineObserver {
  explicit SlowSteps(absl::Duration pause) : pause(pause) {}
  void OnStep(const StepReport&) override { Clock::Real()->Sleep(pause); }
  void OnFinish(const RequestUsage&, FinishReason) override {}
  void OnRefused() override {}
  const absl::Duration pause;
};

}  // namespace tritter
