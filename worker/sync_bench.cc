// What training.sync: outer sends over the wire and what it costs in loss: two workers over Gloo on
// loopback, nano on the shipped text, against a sum of the gradients in every step.
//   sync_bench                        rounds of 20 steps, FP32 and int8, plain mean
//   sync_bench --rate 0.7 --momentum 0.9   with Nesterov's outer step
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/schedule.h"
#include "model/tokenizer.h"
#include "worker/counting_collective.h"
#include "worker/training/trainer.h"

namespace tritter {
namespace {

constexpr int kWorld = 2;
constexpr int64_t kLength = 128;

struct Settings {
  std::string text_file = "examples/shakespeare/input.txt";
  int64_t steps = 400, round = 20, batch = 16;
  double rate = 1.0, momentum = 0.0;
};

RunSpec SpecOf(const Settings& settings, const std::string& compression) {
  RunSpec spec;
  spec.model = *PresetConfig("nano");
  spec.model.vocab = kByteVocabulary;
  spec.steps = settings.steps;
  spec.sequence_length = kLength;
  spec.global_batch = settings.batch;
  spec.precision = "auto";
  spec.ema_window = std::max<int64_t>(1, settings.steps / 100);
  // A shorter warm-up at this peak now and then ends on a plateau, whatever the sync.
  const int64_t warmup = std::min<int64_t>(50, settings.steps / 4);
  spec.schedule = {.peak = 3e-3,
                   .min = 3e-4,
                   .warmup_steps = warmup,
                   .decay_start_step = settings.steps * 4 / 5,
                   .total_steps = settings.steps,
                   .shape = DecayShape::kCosine};
  if (compression.empty()) return spec;
  spec.sync = "outer";
  spec.outer_steps = settings.round;
  spec.outer_rate = settings.rate;
  spec.outer_momentum = settings.momentum;
  spec.outer_compression = compression;
  return spec;
}

// Tokens of the text: the last tenth is held out.
struct Text {
  std::vector<int64_t> train, held_out;
};

Batch ShareOf(const RunSpec& spec, const Text& text, int64_t step, int rank) {
  Batch batch;
  batch.sequences = spec.global_batch / kWorld;
  batch.weights.assign(batch.sequences * kLength, 1.0f);
  for (int64_t i = 0; i < batch.sequences; ++i) {
    const int64_t slot = step * spec.global_batch + rank * batch.sequences + i;
    Philox random(MixKey(11, static_cast<uint64_t>(slot)));
    const auto first =
        text.train.begin() + static_cast<int64_t>(random.Below(text.train.size() - kLength - 1));
    batch.tokens.insert(batch.tokens.end(), first, first + kLength + 1);
  }
  return batch;
}

struct Outcome {
  int64_t sent_bytes = 0;        // by a rank, in all steps
  double training = 0;           // mean of the last 20 steps, nats per token
  double raw = 0, averaged = 0;  // held out
};

// One rank, from the first step to the end.
absl::StatusOr<Outcome> Work(const RunSpec& spec, const Text& text, CountingCollective* group) {
  ASSIGN_OR_RETURN(const auto trainer,
                   Trainer::Create({.spec = spec, .collective = group, .threads = 1}));
  RETURN_IF_ERROR(trainer->InitialiseFresh());
  std::vector<double> losses;
  for (int64_t step = 0; step < spec.steps; ++step) {
    ASSIGN_OR_RETURN(const StepStats stats,
                     trainer->Step(ShareOf(spec, text, step, group->rank()),
                                   static_cast<double>(spec.global_batch * kLength),
                                   spec.global_batch / kWorld, LrAt(step, spec.schedule)));
    if (IsOuter(spec)) {
      for (const StepLoss& s : stats.round) losses.push_back(s.loss);
    } else {
      losses.push_back(stats.loss);
    }
  }
  Outcome out;
  out.sent_bytes = group->sent_bytes();
  const size_t last = std::min<size_t>(20, losses.size());
  for (size_t i = losses.size() - last; i < losses.size(); ++i)
    out.training += losses[i] / static_cast<double>(last);
  for (const bool averaged : {false, true}) {
    size_t next = group->rank() * kLength;
    ASSIGN_OR_RETURN(const EvaluationResult result,
                     trainer->Evaluate(
                         [&](std::vector<int64_t>* window) {
                           if (next + kLength + 1 > text.held_out.size()) return false;
                           const auto first = text.held_out.begin() + static_cast<int64_t>(next);
                           window->assign(first, first + kLength + 1);
                           next += kWorld * kLength;
                           return true;
                         },
                         averaged));
    (averaged ? out.averaged : out.raw) = result.nats / static_cast<double>(result.tokens);
  }
  return out;
}

absl::StatusOr<Outcome> TrainTwo(const RunSpec& spec, const Text& text) {
  ASSIGN_OR_RETURN(const auto rendezvous, OpenRendezvous("127.0.0.1", kWorld));
  std::vector<absl::StatusOr<Outcome>> outcomes(kWorld, absl::UnknownError("did not run"));
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < kWorld; ++rank) {
    ranks.emplace_back([&, rank] {
      outcomes[rank] = [&]() -> absl::StatusOr<Outcome> {
        ASSIGN_OR_RETURN(auto gloo, ConnectCollective(rendezvous->address(),
                                                      rank == 0 ? rendezvous.get() : nullptr,
                                                      "bench", rank, kWorld, absl::Minutes(10)));
        CountingCollective group(std::move(gloo));
        return Work(spec, text, &group);
      }();
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (const auto& outcome : outcomes) RETURN_IF_ERROR(outcome.status());
  return outcomes[0];
}

absl::Status Measure(const Settings& settings) {
  ASSIGN_OR_RETURN(const std::string bytes, Env::Real()->ReadFile(settings.text_file));
  Text text;
  const size_t border = bytes.size() / 10 * 9;
  for (size_t i = 0; i < bytes.size(); ++i)
    (i < border ? text.train : text.held_out)
        .push_back(kFirstByteId + static_cast<unsigned char>(bytes[i]));
  ASSIGN_OR_RETURN(const Outcome every, TrainTwo(SpecOf(settings, ""), text));
  const std::string shape = absl::StrFormat("nano, %d steps, 2 workers", settings.steps);
  const auto report = [&](const std::string& what, const Outcome& o) {
    PrintFigure({absl::StrCat(shape, ": ", what, ": payload a worker sends"),
                 static_cast<double>(o.sent_bytes) / 1e6, "MB", "", ""});
    PrintFigure(
        {absl::StrCat(shape, ": ", what, ": held-out loss, raw weights"), o.raw, "nats/token",
         absl::StrFormat("every step: %.4f; training loss %.4f", every.raw, o.training), ""});
    PrintFigure({absl::StrCat(shape, ": ", what, ": held-out loss, averaged weights"), o.averaged,
                 "nats/token", absl::StrFormat("every step: %.4f", every.averaged), ""});
  };
  report("every step", every);
  for (const auto& [compression, bar] :
       std::vector<std::pair<std::string, std::string>>{{"none", ">= 19.8"}, {"int8", ">= 70"}}) {
    ASSIGN_OR_RETURN(const Outcome outer, TrainTwo(SpecOf(settings, compression), text));
    const std::string what = absl::StrCat(
        "outer, rounds of ", settings.round, ", ", compression == "none" ? "FP32" : compression,
        settings.momentum > 0 || settings.rate != 1.0
            ? absl::StrFormat(", rate %g, momentum %g", settings.rate, settings.momentum)
            : "");
    report(what, outer);
    PrintFigure({absl::StrCat(shape, ": ", what, ": times less payload"),
                 static_cast<double>(every.sent_bytes) / static_cast<double>(outer.sent_bytes), "x",
                 "a sum of the gradients in every step", settings.round == 20 ? bar : ""});
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  tritter::CommandLine app{"Bytes on the wire and loss of sync outer beside every_step"};
  tritter::Settings settings;
  app.AddFlag("--text", &settings.text_file, "text to train on");
  app.AddFlag("--steps", &settings.steps, "optimiser steps of each run, at least 20");
  app.AddFlag("--round", &settings.round, "steps of a round");
  app.AddFlag("--rate", &settings.rate, "outer rate");
  app.AddFlag("--momentum", &settings.momentum, "outer momentum");
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;
  const absl::Status status = tritter::Measure(settings);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
