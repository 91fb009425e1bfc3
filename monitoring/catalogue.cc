#include "monitoring/catalogue.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tritter {
namespace {

constexpr MetricType kCounter = MetricType::kCounter;
constexpr MetricType kGauge = MetricType::kGauge;
constexpr MetricType kHistogram = MetricType::kHistogram;

// Bounds that a nano model on a CPU and a large one on GPUs both fall into.
const std::vector<double>& StepSeconds() {
  static const auto* const buckets =
      new std::vector<double>{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
  return *buckets;
}
const std::vector<double>& TokenSeconds() {
  static const auto* const buckets = new std::vector<double>{
      0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};
  return *buckets;
}
const std::vector<double>& RequestSeconds() {
  static const auto* const buckets = new std::vector<double>{
      0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
  return *buckets;
}

std::vector<MetricInfo>* MakeCatalogue() {
  return new std::vector<MetricInfo>{
      // all servers
      {"tritter_build_info",
       kGauge,
       {"version", "component"},
       "1",
       "all",
       "Always 1; the labels say which version of which server runs.",
       {}},
      {"tritter_start_time_seconds",
       kGauge,
       {},
       "seconds",
       "all",
       "When the process started, in seconds since 1970.",
       {}},

      // coordinator
      {"tritter_coordinator_leads",
       kGauge,
       {},
       "1",
       "coordinator",
       "1 while this coordinator leads, 0 while it stands by for another on the same store.",
       {}},
      {"tritter_runs",
       kGauge,
       {"state"},
       "runs",
       "coordinator",
       "Runs in each state, as tritterctl shows it: waiting are those that are to train and have "
       "no "
       "group of workers now.",
       {}},
      {"tritter_workers",
       kGauge,
       {"state"},
       "workers",
       "coordinator",
       "Registered workers in each state.",
       {}},
      {"tritter_store_bytes",
       kGauge,
       {},
       "bytes",
       "coordinator",
       "What the store's database takes on disk, looked at once a minute; checkpoints are beside "
       "it.",
       {}},
      {"tritter_heartbeats_total",
       kCounter,
       {},
       "heartbeats",
       "coordinator",
       "Heartbeats received from workers.",
       {}},
      {"tritter_epochs_total",
       kCounter,
       {"reason"},
       "epochs",
       "coordinator",
       "Epochs formed, by what made a new one necessary.",
       {}},
      {"tritter_worker_losses_total",
       kCounter,
       {"reason"},
       "workers",
       "coordinator",
       "Workers lost, by how it was noticed.",
       {}},
      {"tritter_plans_total", kCounter, {}, "plans", "coordinator", "Plans handed out.", {}},
      {"tritter_checkpoint_commits_total",
       kCounter,
       {"result"},
       "checkpoints",
       "coordinator",
       "Checkpoints committed or refused.",
       {}},
      {"tritter_checkpoint_age_seconds",
       kGauge,
       {"run"},
       "seconds",
       "coordinator",
       "Time since the newest committed checkpoint of a run that has not ended, or since it first "
       "started; 0 before that.",
       {}},
      {"tritter_run_waiting",
       kGauge,
       {"run", "cause"},
       "1",
       "coordinator",
       "1 while a run that should train waits for this cause, else 0; see waiting.md.",
       {}},
      {"tritter_run_straggler",
       kGauge,
       {"run", "worker"},
       "1",
       "coordinator",
       "How many times as long as the others a worker computes that they wait for; 0 when it has "
       "caught up.",
       {}},
      {"tritter_run_step",
       kGauge,
       {"run"},
       "steps",
       "coordinator",
       "Last step that the workers of a run have reported.",
       {}},
      {"tritter_run_active_seconds_total",
       kCounter,
       {"run"},
       "seconds",
       "coordinator",
       "Time since a run first started, with what it waited and recovered, pauses left out: the "
       "denominator of goodput. Counted while this coordinator runs.",
       {}},
      {"tritter_run_productive_seconds_total",
       kCounter,
       {"run"},
       "seconds",
       "coordinator",
       "Time spent on steps that were kept: the numerator of goodput.",
       {}},

      // worker
      {"tritter_train_step", kGauge, {"run"}, "steps", "worker", "Last finished step.", {}},
      {"tritter_train_loss",
       kGauge,
       {"run"},
       "nats",
       "worker",
       "Training loss of the last step, mean per token.",
       {}},
      {"tritter_train_learning_rate",
       kGauge,
       {"run"},
       "1",
       "worker",
       "Learning rate of the last step.",
       {}},
      {"tritter_train_grad_norm",
       kGauge,
       {"run"},
       "1",
       "worker",
       "Norm of the gradient before clipping, last step.",
       {}},
      {"tritter_train_tokens_total",
       kCounter,
       {},
       "tokens",
       "worker",
       "Tokens trained on by this worker.",
       {}},
      {"tritter_train_sent_bytes_total",
       kCounter,
       {},
       "bytes",
       "worker",
       "Payload that this worker sent to the others of its group in optimiser steps; with sync "
       "outer "
       "once a round.",
       {}},
      {"tritter_train_step_seconds",
       kHistogram,
       {},
       "seconds",
       "worker",
       "Duration of a step.",
       StepSeconds()},
      {"tritter_train_step_part_seconds_total",
       kCounter,
       {"part"},
       "seconds",
       "worker",
       "Time spent in each part of the steps: data, forward, backward, reduce, optimizer, other.",
       {}},
      {"tritter_eval_loss",
       kGauge,
       {"run", "source", "weights"},
       "nats",
       "worker",
       "Held-out loss of a source, mean per token, of the averaged or raw weights.",
       {}},
      {"tritter_eval_bits_per_byte",
       kGauge,
       {"run", "source", "weights"},
       "bits per byte",
       "worker",
       "Held-out bits per byte of a source, of the averaged or raw weights.",
       {}},
      {"tritter_checkpoint_write_seconds",
       kHistogram,
       {},
       "seconds",
       "worker",
       "Time to write this worker's share of a checkpoint, fsync included.",
       StepSeconds()},
      {"tritter_checkpoint_written_bytes_total",
       kCounter,
       {},
       "bytes",
       "worker",
       "Bytes of checkpoint shares written.",
       {}},
      {"tritter_train_non_finite_total",
       kCounter,
       {},
       "steps",
       "worker",
       "Steps whose loss or gradient was not finite; the worker's log names the first bad tensor.",
       {}},

      // inference
      {"tritter_requests_running",
       kGauge,
       {},
       "requests",
       "inference",
       "Requests being worked on.",
       {}},
      {"tritter_requests_waiting",
       kGauge,
       {},
       "requests",
       "inference",
       "Requests in the queue.",
       {}},
      {"tritter_requests_total",
       kCounter,
       {"outcome"},
       "requests",
       "inference",
       "Requests ended: ok, cancelled, refused or failed.",
       {}},
      {"tritter_prompt_tokens_total",
       kCounter,
       {},
       "tokens",
       "inference",
       "Tokens of prompts computed.",
       {}},
      {"tritter_cached_prompt_tokens_total",
       kCounter,
       {},
       "tokens",
       "inference",
       "Tokens of prompts that were not computed: an earlier request began alike.",
       {}},
      {"tritter_generated_tokens_total",
       kCounter,
       {},
       "tokens",
       "inference",
       "Tokens generated.",
       {}},
      {"tritter_time_to_first_token_seconds",
       kHistogram,
       {},
       "seconds",
       "inference",
       "From the arrival of a request to its first token.",
       RequestSeconds()},
      {"tritter_inter_token_seconds",
       kHistogram,
       {},
       "seconds",
       "inference",
       "Between two tokens of one request.",
       TokenSeconds()},
      {"tritter_queue_seconds",
       kHistogram,
       {},
       "seconds",
       "inference",
       "From the arrival of a request to the start of its work.",
       RequestSeconds()},
      {"tritter_batch_size",
       kHistogram,
       {},
       "requests",
       "inference",
       "Requests that share one decoding step.",
       {1, 2, 4, 8, 16, 32, 64, 128}},
      {"tritter_kv_cache_used_bytes",
       kGauge,
       {},
       "bytes",
       "inference",
       "KV cache held by requests.",
       {}},
      {"tritter_kv_cache_capacity_bytes",
       kGauge,
       {},
       "bytes",
       "inference",
       "KV cache there is.",
       {}},
      {"tritter_kernel_info",
       kGauge,
       {"kernel"},
       "1",
       "inference",
       "Always 1; the label names the matrix kernel in use.",
       {}},
      {"tritter_model_info",
       kGauge,
       {"model"},
       "1",
       "inference",
       "Versions of the model in memory: 1, and 2 while one that was replaced finishes its "
       "requests.",
       {}},
      {"tritter_stream_read_bytes_total",
       kCounter,
       {"model"},
       "bytes",
       "inference",
       "Weights read from disk, or copied to a GPU, of a model whose layers are streamed.",
       {}},
      {"tritter_stream_wait_seconds_total",
       kCounter,
       {"model"},
       "seconds",
       "inference",
       "Time for which steps waited for streamed weights.",
       {}},
      {"tritter_stream_bytes_per_second",
       kGauge,
       {"model"},
       "bytes per second",
       "inference",
       "Weights streamed in the last step, by its duration: what is achieved.",
       {}},
      {"tritter_stream_source_bytes_per_second",
       kGauge,
       {"model"},
       "bytes per second",
       "inference",
       "What plain reads from disk, or plain copies to the GPU, gave when the model was loaded: "
       "what "
       "is possible.",
       {}},
      {"tritter_stream_step_bytes",
       kGauge,
       {"model"},
       "bytes",
       "inference",
       "Weights that every step streams, however many requests share it.",
       {}},
  };
}

}  // namespace

absl::Span<const MetricInfo> Catalogue() {
  static const std::vector<MetricInfo>* const catalogue = MakeCatalogue();
  return *catalogue;
}

const MetricInfo* FindMetric(absl::string_view name) {
  for (const MetricInfo& metric : Catalogue()) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

absl::string_view MetricTypeName(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "";
}

std::string CatalogueAsMarkdown() {
  std::string out =
      "# Metrics\n\n"
      "Generated from `monitoring/catalogue.cc`; a test compares the two. To renew it:\n"
      "`bazel run //monitoring:print_metrics > docs/reference/metrics.md`.\n\n"
      "Every server exposes `/metrics` (Prometheus text format) and `/healthz` on a port of its "
      "own.\n";
  for (const absl::string_view servers : {"all", "coordinator", "worker", "inference"}) {
    absl::StrAppend(&out, "\n## ", servers == "all" ? "All servers" : servers,
                    "\n\n| name | type | labels | unit | meaning |\n|---|---|---|---|---|\n");
    for (const MetricInfo& m : Catalogue()) {
      if (m.servers != servers) continue;
      absl::StrAppend(
          &out, "| `", m.name, "` | ", MetricTypeName(m.type), " | ",
          m.labels.empty() ? "" : absl::StrCat("`", absl::StrJoin(m.labels, "`, `"), "`"), " | ",
          m.unit, " | ", m.meaning, " |\n");
    }
  }
  return out;
}

}  // namespace tritter
