// Trains a small model on a text file in one process and prints milliseconds per step by part, and
// held-out nats and bits per byte. Documents are separated by blank lines; one is held out when
// SHA-256(content) mod 1000 < 100. Example:
//   train_bench --text input.txt --steps 400 --sequence 128 --batch 16 --peak 3e-3
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/random.h"
#include "common/sha256.h"
#include "model/tokenizer.h"
#include "worker/collective.h"
#include "worker/training/trainer.h"

namespace tritter {
namespace {

struct Corpus {
  std::vector<int64_t> train, held_out;
  int64_t held_out_bytes = 0;
};

// Documents are held out until they hold `most_held_out` tokens; further ones are left unused.
Corpus SplitText(const std::string& text, int64_t most_held_out) {
  Corpus corpus;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find("\n\n", at), text.size());
    const std::string document = text.substr(at, end - at);
    at = end + 2;
    if (document.empty()) continue;
    const bool held_out = DigestMod(Sha256(document), 1000) < 100;
    if (held_out && static_cast<int64_t>(corpus.held_out.size()) >= most_held_out) continue;
    std::vector<int64_t>& tokens = held_out ? corpus.held_out : corpus.train;
    for (unsigned char c : document) tokens.push_back(kFirstByteId + c);
    tokens.push_back(kEosId);
    if (held_out) corpus.held_out_bytes += static_cast<int64_t>(document.size());
  }
  return corpus;
}

Batch BatchAt(const Corpus& corpus, const RunSpec& spec, int64_t step) {
  const int64_t length = spec.sequence_length,
                samples = (static_cast<int64_t>(corpus.train.size()) - 1) / length;
  Batch batch;
  batch.sequences = spec.global_batch;
  batch.weights.assign(spec.global_batch * length, 1.0f);
  for (int64_t i = 0; i < spec.global_batch; ++i) {
    const int64_t slot = step * spec.global_batch + i;
    const int64_t k = static_cast<int64_t>(
        Permutation(MixKey(spec.seed, slot / samples), samples)(slot % samples));
    batch.tokens.insert(batch.tokens.end(), corpus.train.begin() + k * length,
                        corpus.train.begin() + (k + 1) * length + 1);
  }
  return batch;
}

struct Evaluation {
  int64_t every = 0;  // steps; 0: at the end only, -1: never
  int64_t window = 0, most_tokens = 0;
  std::string weights;  // raw, averaged, both
};

int Run(const RunSpec& spec, const std::string& path, int threads, const Evaluation& evaluation) {
  const auto text = Env::Real()->ReadFile(path);
  if (!text.ok()) return std::fprintf(stderr, "%s\n", text.status().ToString().c_str()), 1;
  const Corpus corpus = SplitText(*text, evaluation.most_tokens);
  const auto collective = SingleProcessCollective();
  Trainer::Options options;
  options.spec = spec;
  options.collective = collective.get();
  options.threads = threads;
  auto trainer = Trainer::Create(options);
  if (trainer.ok()) {
    if (const absl::Status s = (*trainer)->InitialiseFresh(); !s.ok()) trainer = s;
  }
  if (!trainer.ok()) return std::fprintf(stderr, "%s\n", trainer.status().ToString().c_str()), 1;
  std::printf("%s; %zu training tokens, %zu held out\n", (*trainer)->description().c_str(),
              corpus.train.size(), corpus.held_out.size());
  StepStats sum;
  double seconds = 0, loss = 0;
  std::clock_t cpu = std::clock();
  int64_t since = 0;
  for (int64_t step = 0; step < spec.steps; ++step) {
    const Batch batch = BatchAt(corpus, spec, step);
    const absl::Duration begin = Clock::Real()->Monotonic();
    const auto stats = (*trainer)->Step(
        batch, static_cast<double>(batch.sequences * spec.sequence_length),
        spec.micro_batch > 0 ? spec.micro_batch : batch.sequences, LrAt(step, spec.schedule));
    if (!stats.ok()) return std::fprintf(stderr, "%s\n", stats.status().ToString().c_str()), 1;
    seconds += absl::ToDoubleSeconds(Clock::Real()->Monotonic() - begin);
    sum.forward_seconds += stats->forward_seconds;
    sum.backward_seconds += stats->backward_seconds;
    sum.reduce_seconds += stats->reduce_seconds;
    sum.optimizer_seconds += stats->optimizer_seconds;
    loss += stats->loss;
    ++since;
    const bool last = step + 1 == spec.steps;
    if (!last && (evaluation.every <= 0 || (step + 1) % evaluation.every != 0)) continue;
    const double n = static_cast<double>(since) / 1e3;
    std::printf(
        "step %ld loss %.4f norm %.3f | ms %.2f (cpu %.2f): forward %.2f backward %.2f reduce %.2f "
        "optimizer %.2f",
        step + 1, loss / static_cast<double>(since), stats->grad_norm, seconds / n,
        static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC / n, sum.forward_seconds / n,
        sum.backward_seconds / n, sum.reduce_seconds / n, sum.optimizer_seconds / n);
    sum = {};
    seconds = loss = 0;
    since = 0;
    for (bool averaged : {true, false}) {
      if (evaluation.every < 0) break;
      if (evaluation.weights == (averaged ? "raw" : "averaged")) continue;
      size_t at = 0;
      const absl::Duration start = Clock::Real()->Monotonic();
      const auto result = (*trainer)->Evaluate(
          [&](std::vector<int64_t>* out) {
            if (at + 1 >= corpus.held_out.size()) return false;
            const size_t end = std::min(at + evaluation.window + 1, corpus.held_out.size());
            out->assign(corpus.held_out.begin() + at, corpus.held_out.begin() + end);
            at = end - 1;
            return true;
          },
          averaged);
      if (!result.ok()) return std::fprintf(stderr, "%s\n", result.status().ToString().c_str()), 1;
      const double nats = result->nats / static_cast<double>(corpus.held_out_bytes);
      std::printf(" | %s %.4f nats/byte, %.4f bits/byte (%.1f s)", averaged ? "averaged" : "raw",
                  nats, nats / std::log(2.0),
                  absl::ToDoubleSeconds(Clock::Real()->Monotonic() - start));
    }
    std::printf("\n");
    std::fflush(stdout);
    cpu = std::clock();
  }
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  tritter::CommandLine app{"Times training of a small model on a text file"};
  std::string text, preset = "nano", shape = "cosine", weight_rule = "absmean";
  tritter::RunSpec spec;
  spec.steps = 100;
  spec.sequence_length = 128;
  spec.global_batch = 16;
  double peak = 2e-3, min = 0.05, warmup = 0.02, decay = 0.3, average = 0.01;
  int threads = 1;
  tritter::Evaluation evaluation{.most_tokens = int64_t{1} << 40, .weights = "both"};
  int64_t vocabulary = tritter::kByteVocabulary;
  app.AddFlag("--text", &text, "UTF-8 text, documents separated by blank lines")
      .Required()
      .ExistingFile();
  app.AddFlag("--preset", &preset, "model preset");
  app.AddFlag("--vocab", &vocabulary, "vocabulary");
  app.AddFlag("--steps", &spec.steps, "optimiser steps");
  app.AddFlag("--sequence", &spec.sequence_length, "tokens a sequence");
  app.AddFlag("--batch", &spec.global_batch, "sequences a step");
  app.AddFlag("--micro", &spec.micro_batch, "sequences a pass; 0: all");
  app.AddFlag("--peak", &peak, "peak learning rate");
  app.AddFlag("--min", &min, "final learning rate as a fraction of the peak");
  app.AddFlag("--warmup", &warmup, "fraction of the steps");
  app.AddFlag("--decay", &decay, "fraction of the steps");
  app.AddFlag("--shape", &shape, "of the decay").OneOf({"cosine", "linear", "sqrt"});
  app.AddFlag("--weight-decay", &spec.weight_decay, "AdamW");
  app.AddFlag("--beta2", &spec.beta2, "AdamW");
  app.AddFlag("--momentum", &spec.momentum, "Muon");
  app.AddFlag("--optimizer", &spec.optimizer, "of the matrices inside the blocks")
      .OneOf({"adamw", "muon"});
  app.AddFlag("--moments", &spec.moments, "AdamW's").OneOf({"fp32", "8bit"});
  app.AddFlag("--ema", &average, "window of the weight average as a fraction of the run");
  app.AddFlag("--seed", &spec.seed, "seed");
  app.AddFlag("--weight-rule", &weight_rule, "none trains plain matrices, the baseline")
      .OneOf({"absmean", "threshold", "none"});
  app.AddFlag("--precision", &spec.precision, "of the products").OneOf({"auto", "fp32", "bf16"});
  app.AddFlag("--threads", &threads, "threads");
  app.AddFlag("--evaluate-every", &evaluation.every, "steps; 0: at the end only, -1: never");
  app.AddFlag("--window", &evaluation.window, "held-out window; 0: the sequence length");
  app.AddFlag("--held-out", &evaluation.most_tokens, "held-out tokens at most");
  app.AddFlag("--evaluate", &evaluation.weights, "weights").OneOf({"raw", "averaged", "both"});
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;
  const auto model = tritter::PresetConfig(preset);
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.status().ToString().c_str()), 1;
  spec.model = *model;
  spec.model.vocab = vocabulary;
  if (weight_rule == "threshold") spec.model.weight_rule = tritter::WeightRule::kThreshold;
  if (weight_rule == "none") spec.model.weight_rule = tritter::WeightRule::kNone;
  spec.ema_window = std::llround(average * static_cast<double>(spec.steps));
  spec.schedule.peak = peak;
  spec.schedule.min = min * peak;
  spec.schedule.total_steps = spec.steps;
  spec.schedule.warmup_steps =
      std::max<int64_t>(1, std::llround(warmup * static_cast<double>(spec.steps)));
  spec.schedule.decay_start_step = std::max(
      spec.schedule.warmup_steps,
      spec.steps - std::max<int64_t>(1, std::llround(decay * static_cast<double>(spec.steps))));
  spec.schedule.shape = *tritter::ParseDecayShape(shape);
  if (evaluation.window <= 0) evaluation.window = spec.sequence_length;
  return tritter::Run(spec, text, threads, evaluation);
}
