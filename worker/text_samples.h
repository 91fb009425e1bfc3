// Text that a model in training writes, for people to look at: each prompt continued by the
// likeliest tokens, and by tokens drawn at random, repeatably.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/run_spec.h"
#include "worker/cancellation.h"
#include "worker/training/trainer.h"

namespace tritter {

inline constexpr double kSampleTemperature = 0.8;

struct TextSample {
  std::string prompt;
  std::string likeliest, drawn;  // what comes after it, at most spec.sample_tokens tokens of each
};

// With the averaged weights and the arithmetic of serving. What is drawn is a pure function of the
// weights, the run's seed, the step and the prompt's number. Byte tokens; ends at eos or at the
// model's context. Errors: those of Trainer::Logits; Aborted (cancelled, looked at before every
// token).
absl::StatusOr<std::vector<TextSample>> SampleTexts(Trainer* trainer, const RunSpec& spec,
                                                    const Cancellation& cancellation);

// run_dir/samples/step-N.json.
std::string SamplesFileName(int64_t step);
absl::Status WriteSamples(Env* env, const std::string& run_dir, int64_t step,
                          const std::vector<TextSample>& samples);

}  // namespace tritter
