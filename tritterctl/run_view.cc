#include "tritterctl/run_view.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tritterctl/output.h"
#include "tritterctl/progress.h"

namespace tritter {
namespace {

// "key:      value" with the values in one column.
void AppendField(std::string* out, absl::string_view key, absl::string_view value) {
  if (!value.empty())
    absl::StrAppend(out, absl::StrFormat("%-14s", absl::StrCat(key, ":")), value, "\n");
}

// Not a job on what another run has left.
bool Trains(const v1::Run& run) { return run.job().empty() || run.job() == "train"; }

using Cells = std::vector<std::string>;

void Append(bool wanted, const Cells& more, Cells* row) {
  if (wanted) row->insert(row->end(), more.begin(), more.end());
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

std::string EvaluationText(const v1::EvaluationPoint& e) {
  return absl::StrFormat(
      "%s (%s weights, step %d): loss %.4f, perplexity %.4g, %.4f bits/byte over %d bytes",
      e.source(), e.weights(), e.step(), e.loss(), std::exp(e.loss()), e.bits_per_byte(),
      e.raw_bytes());
}

// Whether what failed still stands in the way: nothing has trained since, and something should.
bool StillFailed(const v1::Run& run) {
  return run.epoch() <= run.last_failure().epoch() &&
         (run.state() == v1::RUN_STATE_FAILED || run.state() == v1::RUN_STATE_RUNNING ||
          run.state() == v1::RUN_STATE_QUEUED);
}

// What a failed run has lost, and how it goes on; empty for one that is tried again.
std::string AfterFailure(const v1::Run& run, const v1::ListEpochsResponse& epochs) {
  if (run.state() != v1::RUN_STATE_FAILED) return "";
  std::string out;
  for (const v1::Epoch& e : epochs.epochs()) {
    const int64_t lost = e.end_step() - run.committed_step();
    if (e.epoch() != run.last_failure().epoch() || lost <= 0) continue;
    absl::StrAppend(&out, "  ", run.committed_step() > 0 ? "the " : "its ", lost,
                    lost == 1 ? " step" : " steps",
                    run.committed_step() > 0
                        ? absl::StrCat(" after the checkpoint of step ", run.committed_step())
                        : std::string(", of which there is no checkpoint,"),
                    lost == 1 ? " is lost\n" : " are lost\n");
  }
  absl::StrAppend(&out, "  it is not tried again by itself; when the cause is mended: ",
                  "tritterctl resume ", run.run_id(), "\n");
  return out;
}

// Who failed first in the newest epoch that failed. With `all` also what it said last and what came
// of it, else in one line.
void AppendFailure(const v1::Run& run, const v1::ListEpochsResponse& epochs, bool all,
                   std::string* out) {
  const v1::Failure& failure = run.last_failure();
  std::string head = absl::StrCat("epoch ", failure.epoch(), ", ", FormatTimeMs(failure.time_ms()),
                                  failure.permanent() ? ", permanent" : "");
  std::string recovered;
  for (const v1::Epoch& e : epochs.epochs()) {
    if (e.epoch() != failure.epoch() + 1) continue;
    recovered = absl::StrCat("recovered: went on from step ", e.start_step());
  }
  if (recovered.empty() && run.epoch() > failure.epoch()) recovered = "recovered";
  if (!all) {
    absl::StrAppend(&head, ": ", failure.cause());
    if (!recovered.empty()) absl::StrAppend(&head, "; ", recovered);
    return AppendField(out, "last failure", head);
  }
  absl::StrAppend(out, "\nlast failure: ", head, recovered.empty() ? "" : "; ", recovered, "\n  ",
                  failure.cause(), "\n");
  for (const absl::string_view line : absl::StrSplit(failure.detail(), '\n', absl::SkipEmpty()))
    absl::StrAppend(out, "    ", line, "\n");
  if (failure.worker().empty()) return absl::StrAppend(out, AfterFailure(run, epochs));
  absl::StrAppend(out, "  first to fail: ", failure.worker(), " (rank ", failure.rank(), ", ",
                  failure.device(), ")", failure.last_lines_size() > 0 ? ", which logged last" : "",
                  "\n");
  for (const v1::LogLine& line : failure.last_lines())
    absl::StrAppend(out, "    ", FormatTimeMs(line.time_ms()), " ", line.line(), "\n");
  absl::StrAppend(out, AfterFailure(run, epochs));
}

// How long a step takes and what of; empty when that is unknown.
std::string StepTimeText(const v1::StepMetrics& m) {
  if (m.step_seconds() <= 0) return "";
  const auto share = [&](double seconds) { return 100 * seconds / m.step_seconds(); };
  return absl::StrFormat(
      "%.1f ms: data wait %.1f %%, forward %.1f %%, backward %.1f %%, reduce %.1f %%, optimizer "
      "%.1f %%, "
      "other %.1f %%",
      m.step_seconds() * 1e3, share(m.data_seconds()), share(m.forward_seconds()),
      share(m.backward_seconds()), share(m.reduce_seconds()), share(m.optimizer_seconds()),
      share(m.other_seconds()));
}

}  // namespace

std::string StateName(v1::RunState state) {
  const auto* value = v1::RunState_descriptor()->FindValueByNumber(state);
  return value == nullptr ? absl::StrCat(static_cast<int>(state)) : EnumName(*value);
}

std::string RunsTable(const v1::ListRunsResponse& runs, bool wide) {
  Cells head = {"RUN", "NAME", "PROJECT", "STATE", "STEP", "LOSS", "TOKENS/S", "CREATED", "REASON"};
  Append(wide, {"BITS/BYTE", "LEFT", "COMMITTED", "EPOCH", "LOST", "WORKERS", "FOLDER"}, &head);
  std::vector<Cells> rows;
  for (const v1::Run& r : runs.runs()) {
    Cells row = {r.run_id(),
                 r.name(),
                 OrDash(r.project()),
                 ShownState(r),
                 Trains(r) ? absl::StrCat(r.step(), "/", r.total_steps()) : "-",
                 HasLossOfItsStep(r) ? absl::StrFormat("%.3f", r.last_metrics().loss()) : "-",
                 r.tokens_per_second() > 0 ? FormatCount(r.tokens_per_second()) : "-",
                 FormatTimeMs(r.created_ms()),
                 wide ? OrDash(r.reason()) : r.reason()};
    Append(wide,
           {r.last_evaluation_size() > 0 ? absl::StrFormat("%.4f", HeldOutBitsPerByte(r)) : "-",
            r.eta_seconds() > 0 ? FormatSeconds(r.eta_seconds()) : "-",
            absl::StrCat(r.committed_step()), absl::StrCat(r.epoch()),
            absl::StrCat(r.epochs_lost()), absl::StrCat(r.members_size()), OrDash(r.run_dir())},
           &row);
    rows.push_back(std::move(row));
  }
  return FormatTable(head, rows);
}

std::string WorkersTable(const v1::ListWorkersResponse& workers, int64_t now_ms, bool wide) {
  Cells head = {"WORKER", "STATE", "HOST", "DEVICE", "THREADS", "RUN", "SEEN"};
  Append(wide, {"INCARNATION", "LAST SEEN"}, &head);
  std::vector<Cells> rows;
  for (const v1::WorkerInfo& w : workers.workers()) {
    // Of one that has not come back since the coordinator started only its name is known.
    Cells row = {w.name(),
                 w.state(),
                 OrDash(w.host()),
                 OrDash(w.device()),
                 w.threads() > 0 ? absl::StrCat(w.threads()) : "-",
                 OrDash(w.run_id()),
                 w.last_seen_ms() > 0
                     ? FormatSeconds(static_cast<double>(now_ms - w.last_seen_ms()) / 1e3)
                     : "-"};
    Append(wide, {absl::StrFormat("%016x", w.incarnation()), FormatTimeMs(w.last_seen_ms())}, &row);
    rows.push_back(std::move(row));
  }
  return FormatTable(head, rows);
}

std::string CheckpointsTable(const v1::ListCheckpointsResponse& checkpoints, bool wide) {
  Cells head = {"STEP", "SIZE", "EPOCH", "COMMITTED", "PATH"};
  Append(wide, {"BYTES", "MANIFEST SHA-256"}, &head);
  std::vector<Cells> rows;
  for (const v1::Checkpoint& c : checkpoints.checkpoints()) {
    Cells row = {absl::StrCat(c.step()), FormatBytes(static_cast<double>(c.bytes())),
                 absl::StrCat(c.epoch()), FormatTimeMs(c.committed_ms()), c.path()};
    Append(wide, {absl::StrCat(c.bytes()), OrDash(c.manifest_sha256())}, &row);
    rows.push_back(std::move(row));
  }
  return FormatTable(head, rows);
}

std::string EventLine(const v1::Event& event) {
  return absl::StrCat(FormatTimeMs(event.time_ms()), "  ", event.kind(), "  ",
                      event.run_id().empty() ? "" : event.run_id() + "  ", event.message());
}

std::string EpochsTable(const v1::ListEpochsResponse& epochs, int64_t now_ms, bool wide) {
  Cells head = {"EPOCH", "STEPS", "STARTED", "LASTED", "WORKERS", "END"};
  Append(wide, {"FAILED FIRST", "CAUSE"}, &head);
  std::vector<Cells> rows;
  for (const v1::Epoch& e : epochs.epochs()) {
    std::vector<std::string> workers;
    for (const v1::RunMember& m : e.members()) workers.push_back(m.worker());
    const int64_t end = e.live() ? now_ms : e.ended_ms();
    Cells row = {
        absl::StrCat(e.epoch()),
        absl::StrCat(e.start_step(), " to ", e.end_step()),
        FormatTimeMs(e.started_ms()),
        FormatSeconds(static_cast<double>(std::max<int64_t>(0, end - e.started_ms())) / 1e3),
        absl::StrJoin(workers, ","),
        e.live() ? "trains now" : OrDash(e.end_reason())};
    Append(wide, {OrDash(e.failure().worker()), OrDash(e.failure().cause())}, &row);
    rows.push_back(std::move(row));
  }
  return FormatTable(head, rows);
}

std::string ScheduleWords(const ScheduleSpec& schedule) {
  const std::string warmup = schedule.warmup_steps > 0
                                 ? absl::StrCat("warm-up up to step ", schedule.warmup_steps)
                                 : "no warm-up";
  return schedule.decay_start_step < schedule.total_steps
             ? absl::StrCat(warmup, ", decay from step ", schedule.decay_start_step, " on")
             : absl::StrCat(warmup, ", no decay");
}

std::string DescribeRun(const v1::Run& run, const v1::ListCheckpointsResponse& checkpoints,
                        const v1::ListEventsResponse& events, const v1::ListEpochsResponse& epochs,
                        int64_t now_ms, bool wide) {
  std::string out;
  AppendField(&out, "run", run.run_id());
  AppendField(&out, "name", run.name());
  AppendField(&out, "project", run.project());
  AppendField(&out, "state", ShownState(run));
  AppendField(&out, "reason", run.reason());
  AppendField(&out, "cause", run.waiting_cause());
  const bool trains = Trains(run);
  if (trains) {
    AppendField(
        &out, "steps",
        absl::StrCat(run.step(), " of ", run.total_steps(), ", committed ", run.committed_step()));
  } else {
    AppendField(&out, "job", run.job());
  }
  if (run.has_last_metrics()) {
    AppendField(
        &out, "training",
        absl::StrFormat("step %d: loss %.4f, gradient norm %.3g, learning rate %.3g",
                        run.last_metrics().step(), run.last_metrics().loss(),
                        run.last_metrics().grad_norm(), run.last_metrics().learning_rate()));
    AppendField(&out, "step time", StepTimeText(run.last_metrics()));
    if (run.last_metrics().sent_bytes() > 0) {
      AppendField(&out, "sent",
                  absl::StrCat(FormatBytes(static_cast<double>(run.last_metrics().sent_bytes())),
                               " by rank 0 to the others, at step ", run.last_metrics().step()));
    }
  }
  if (run.tokens_per_second() > 0)
    AppendField(&out, "speed", FormatCount(run.tokens_per_second()) + " tokens/s");
  if (run.eta_seconds() > 0) AppendField(&out, "time left", FormatSeconds(run.eta_seconds()));
  for (const v1::EvaluationPoint& e : run.last_evaluation())
    AppendField(&out, "held-out", EvaluationText(e));
  if (trains)
    AppendField(&out, "epoch", absl::StrCat(run.epoch(), ", ", run.epochs_lost(), " lost"));
  for (const v1::RunMember& m : run.members())
    AppendField(
        &out, "worker",
        absl::StrCat(
            "rank ", m.rank(), ": ", m.worker(), " (", m.device(), ")",
            m.sequences() > 0 ? absl::StrCat(", ", m.sequences(), " sequences of a batch") : ""));
  AppendField(&out, "created", FormatTimeMs(run.created_ms()));
  AppendField(&out, "started", FormatTimeMs(run.started_ms()));
  AppendField(&out, "finished", FormatTimeMs(run.finished_ms()));
  AppendField(&out, "folder", run.run_dir());
  for (const v1::Artifact& a : run.artifacts()) {
    AppendField(&out, "artifact",
                absl::StrCat(a.kind(), " of step ", a.step(), ", ",
                             FormatBytes(static_cast<double>(a.bytes())), ": ", a.path()));
  }
  if (run.has_last_failure()) AppendFailure(run, epochs, wide || StillFailed(run), &out);
  if (epochs.epochs_size() > 0) absl::StrAppend(&out, "\nepochs\n", EpochsTable(epochs, now_ms));
  if (checkpoints.checkpoints_size() > 0)
    absl::StrAppend(&out, "\ncheckpoints\n", CheckpointsTable(checkpoints));
  if (events.events_size() > 0) {
    absl::StrAppend(&out, "\nevents\n");
    for (const v1::Event& e : events.events()) absl::StrAppend(&out, EventLine(e), "\n");
  }
  if (!run.spec_yaml().empty()) {
    absl::StrAppend(&out, "\nconfiguration (SHA-256 ", run.spec_hash(), ")");
    if (!wide) absl::StrAppend(&out, ": tritterctl describe ", run.run_id(), " -o wide\n");
  }
  if (wide && !run.spec_yaml().empty()) {
    absl::StrAppend(&out, "\n");
    std::string yaml = run.spec_yaml();
    while (!yaml.empty() && yaml.back() == '\n') yaml.pop_back();
    for (const absl::string_view line : absl::StrSplit(yaml, '\n'))
      absl::StrAppend(&out, "  ", line, "\n");
  }
  return out;
}

OrderedJson RunSummary(const v1::Run& run) {
  const double seconds = run.reported_seconds();
  const double tokens = static_cast<double>(run.reported_tokens());
  OrderedJson json = ProtoToJson(run);
  json["evaluations"] = json["last_evaluation"];
  json["tokens_per_second"] = seconds > 0 ? tokens / seconds : 0.0;
  json["train_seconds"] = seconds;
  return json;
}

std::string SummaryText(const v1::Run& run, const OrderedJson& summary) {
  std::string out;
  AppendField(&out, "run", absl::StrCat(run.name(), " (", run.run_id(), "): ", ShownState(run)));
  AppendField(&out, "reason", run.reason());
  if (Trains(run)) AppendField(&out, "steps", absl::StrCat(run.step(), " of ", run.total_steps()));
  if (const double speed = summary["tokens_per_second"].get<double>(); speed > 0) {
    AppendField(&out, "speed",
                absl::StrCat(FormatCount(speed), " tokens/s over ",
                             FormatSeconds(summary["train_seconds"].get<double>())));
  }
  if (HasLossOfItsStep(run))
    AppendField(&out, "loss", absl::StrFormat("%.4f", run.last_metrics().loss()));
  for (const v1::EvaluationPoint& e : run.last_evaluation())
    AppendField(&out, "held-out", EvaluationText(e));
  for (const v1::Artifact& a : run.artifacts()) {
    AppendField(&out, a.kind(),
                absl::StrCat(a.path(), " (", FormatBytes(static_cast<double>(a.bytes())), ")"));
  }
  return out;
}

}  // namespace tritter
