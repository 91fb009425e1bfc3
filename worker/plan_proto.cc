#include "worker/plan_proto.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/utf8.h"

namespace tritter {
namespace {

TrainingPhase FromProto(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_WARMUP:
      return TrainingPhase::kWarmup;
    case v1::PHASE_FULL:
      return TrainingPhase::kFull;
    case v1::PHASE_PREDICT:
      return TrainingPhase::kPredict;
    case v1::PHASE_CORRECT:
      return TrainingPhase::kCorrect;
    default:
      return TrainingPhase::kUnspecified;
  }
}

v1::Phase ToProto(TrainingPhase phase) {
  switch (phase) {
    case TrainingPhase::kWarmup:
      return v1::PHASE_WARMUP;
    case TrainingPhase::kFull:
      return v1::PHASE_FULL;
    case TrainingPhase::kPredict:
      return v1::PHASE_PREDICT;
    case TrainingPhase::kCorrect:
      return v1::PHASE_CORRECT;
    case TrainingPhase::kUnspecified:
      break;
  }
  return v1::PHASE_UNSPECIFIED;
}

absl::StatusOr<ScheduleSpec> FromProto(const v1::LearningRate& proto) {
  ScheduleSpec spec;
  spec.peak = proto.peak();
  spec.min = proto.min();
  spec.warmup_steps = proto.warmup_steps();
  spec.decay_start_step = proto.decay_start_step();
  spec.total_steps = proto.total_steps();
  if (const std::optional<DecayShape> shape = ParseDecayShape(proto.shape())) {
    spec.shape = *shape;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("plan refused: learning_rate.shape is '",
                                                   proto.shape(),
                                                   "', expected cosine, linear or sqrt"));
  }
  return spec;
}

}  // namespace

Assignment FromProto(const v1::Assignment& proto) {
  Assignment a;
  a.id = {proto.run_id(), proto.epoch()};
  a.rank = proto.rank();
  a.world_size = proto.world_size();
  a.spec_yaml = proto.spec_yaml();
  a.run_dir = proto.run_dir();
  a.start_step = proto.start_step();
  a.manifest_sha256 = proto.manifest_sha256();
  if (proto.collective_timeout_ms() > 0)
    a.collective_timeout = absl::Milliseconds(proto.collective_timeout_ms());
  a.from_memory = proto.from_memory();
  a.state_rank = proto.state_rank();
  a.state_epoch = proto.state_epoch();
  a.mixed_devices = proto.mixed_devices();
  for (const v1::RunMember& m : proto.members()) a.members.push_back(m.worker());
  return a;
}

absl::StatusOr<Plan> FromProto(const v1::Plan& proto) {
  Plan plan;
  plan.first_step = proto.first_step();
  plan.end_step = proto.end_step();
  for (const v1::PlanSegment& s : proto.segments()) {
    PlanSegment segment{s.first_step(), s.end_step(), FromProto(s.phase()), {}};
    for (const v1::SourceWeight& w : s.weights()) segment.weights[w.source()] = w.weight();
    plan.segments.push_back(std::move(segment));
  }
  ASSIGN_OR_RETURN(plan.learning_rate, FromProto(proto.learning_rate()));
  plan.first_slot = proto.first_slot();
  plan.global_batch = proto.global_batch();
  for (const v1::RankShare& s : proto.shares())
    plan.shares.push_back({s.rank(), s.first_position(), s.count(), s.micro_batch()});
  for (const v1::CheckpointOrder& c : proto.checkpoints())
    plan.checkpoints.push_back({c.step(), c.attempt()});
  plan.evaluate_at.assign(proto.evaluate_at().begin(), proto.evaluate_at().end());
  return plan;
}

absl::StatusOr<PlanAnswer> FromProto(const v1::NextPlanResponse& proto) {
  switch (proto.result_case()) {
    case v1::NextPlanResponse::kPlan: {
      ASSIGN_OR_RETURN(Plan plan, FromProto(proto.plan()));
      return PlanAnswer(std::move(plan));
    }
    case v1::NextPlanResponse::kWait:
      return PlanAnswer(
          PlanWait{absl::Milliseconds(proto.wait().retry_after_ms()), proto.wait().reason()});
    case v1::NextPlanResponse::kDone:
      return PlanAnswer(PlanDone{proto.done().reason()});
    case v1::NextPlanResponse::RESULT_NOT_SET:
      break;
  }
  return absl::InternalError(
      "the coordinator answered NextPlan with neither plan, wait nor done; it may be of a newer "
      "version");
}

v1::StepMetrics ToProto(const StepReport& report) {
  v1::StepMetrics m;
  m.set_step(report.step);
  m.set_epoch(report.epoch);
  m.set_loss(report.loss);
  m.set_grad_norm(report.grad_norm);
  m.set_learning_rate(report.learning_rate);
  m.set_tokens(report.tokens);
  m.set_phase(ToProto(report.phase));
  m.set_step_seconds(report.step_seconds);
  m.set_data_seconds(report.data_seconds);
  m.set_forward_seconds(report.forward_seconds);
  m.set_backward_seconds(report.backward_seconds);
  m.set_reduce_seconds(report.reduce_seconds);
  m.set_optimizer_seconds(report.optimizer_seconds);
  m.set_other_seconds(report.other_seconds());
  m.set_sent_bytes(report.sent_bytes);
  m.set_time_ms(absl::ToUnixMillis(report.time));
  return m;
}

v1::EvaluationPoint ToProto(const EvaluationReport& report) {
  v1::EvaluationPoint e;
  e.set_step(report.step);
  e.set_source(report.source);
  e.set_weights(report.averaged ? "averaged" : "raw");
  e.set_loss(report.loss);
  e.set_bits_per_byte(report.bits_per_byte);
  e.set_tokens(report.tokens);
  e.set_raw_bytes(report.raw_bytes);
  e.set_seconds(report.seconds);
  return e;
}

Progress FromProto(const v1::ReportRequest& proto) {
  Progress progress;
  for (const v1::StepMetrics& m : proto.steps()) {
    StepReport& report = progress.steps.emplace_back();
    report.step = m.step();
    report.epoch = m.epoch();
    report.loss = m.loss();
    report.grad_norm = m.grad_norm();
    report.learning_rate = m.learning_rate();
    report.tokens = m.tokens();
    report.phase = FromProto(m.phase());
    report.step_seconds = m.step_seconds();
    report.data_seconds = m.data_seconds();
    report.forward_seconds = m.forward_seconds();
    report.backward_seconds = m.backward_seconds();
    report.reduce_seconds = m.reduce_seconds();
    report.optimizer_seconds = m.optimizer_seconds();
    report.sent_bytes = m.sent_bytes();
    report.time = absl::FromUnixMillis(m.time_ms());
  }
  for (const v1::EvaluationPoint& e : proto.evaluations()) {
    EvaluationReport& report = progress.evaluations.emplace_back();
    report.step = e.step();
    report.source = e.source();
    report.averaged = e.weights() == "averaged";
    report.loss = e.loss();
    report.bits_per_byte = e.bits_per_byte();
    report.tokens = e.tokens();
    report.raw_bytes = e.raw_bytes();
    report.seconds = e.seconds();
  }
  return progress;
}

v1::CheckpointFile ToProto(const ManifestFile& file) {
  v1::CheckpointFile f;
  f.set_name(file.name);
  f.set_bytes(static_cast<int64_t>(file.bytes));
  f.set_sha256(file.sha256);
  return f;
}

void ToProto(const Progress& progress, v1::ReportRequest* proto) {
  proto->set_request_id(progress.request_id);
  proto->set_step(progress.step);
  for (const StepReport& s : progress.steps) *proto->add_steps() = ToProto(s);
  for (const EvaluationReport& e : progress.evaluations) *proto->add_evaluations() = ToProto(e);
  for (const LogReport& l : progress.log_lines) {
    v1::LogLine* line = proto->add_log_lines();
    line->set_time_ms(absl::ToUnixMillis(l.time));
    line->set_line(WholeUtf8(l.line));
  }
  proto->set_failure(WholeUtf8(progress.failure));
  proto->set_failure_detail(WholeUtf8(progress.failure_detail));
  proto->set_failure_is_permanent(progress.failure_is_permanent);
  proto->set_spec_unreadable(progress.spec_unreadable);
}

}  // namespace tritter
