// What became of the epochs of a run: who was in them, why they ended, who failed first.
#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"

namespace tritter {
namespace {

// How an epoch begins, in dozens of lines: they tell nothing of its end.
bool TellsOfTheBeginning(const v1::LogLine& line) {
  return line.line().starts_with("parameter_group ") || line.line().starts_with("plan_started ");
}

}  // namespace

v1::Failure Coordinator::FailureOf(const RunEntry& run, const EpochEnd& end) {
  constexpr int64_t kLinesRead = 1000;  // of all members
  constexpr size_t kLinesKept = 20;
  const EpochRecord& epoch = run.epoch->record;
  v1::Failure out;
  out.set_epoch(epoch.epoch);
  out.set_cause(end.cause);
  out.set_permanent(end.permanent);
  // Of a lost member the others say what followed from it.
  if (const std::optional<Complaint>& complaint = run.epoch->complaint; complaint.has_value()) {
    out.set_detail(complaint->text == end.cause
                       ? complaint->detail
                       : absl::StrCat(complaint->text, complaint->detail.empty() ? "" : "\n",
                                      complaint->detail));
  }
  out.set_time_ms(NowMs());
  if (end.rank < 0 || end.rank >= static_cast<int>(epoch.members.size())) return out;
  const MemberRecord& member = epoch.members[end.rank];
  out.set_worker(member.worker);
  out.set_rank(end.rank);
  out.set_device(member.device);
  const absl::StatusOr<std::vector<LogRecord>> lines =
      Apart([&] { return store_->LogLines(epoch.run_id, 0, kLinesRead); });
  if (!lines.ok()) return out;  // what failed is known without them
  std::deque<v1::LogLine> last;
  for (const LogRecord& record : *lines) {
    if (record.line.worker() != member.worker || TellsOfTheBeginning(record.line)) continue;
    last.push_back(record.line);
    if (last.size() > kLinesKept) last.pop_front();
  }
  for (v1::LogLine& line : last) *out.add_last_lines() = std::move(line);
  return out;
}

absl::StatusOr<v1::ListEpochsResponse> Coordinator::ListEpochs(const std::string& name,
                                                               int64_t limit) {
  constexpr int64_t kMostEpochs = 1000;
  std::string id;
  int64_t live_step = 0;
  {
    MutexLock lock(&mu_);
    ASSIGN_OR_RETURN(const RunEntry* run, FindRun(name));
    id = run->record.run_id;
    live_step = run->record.step;
  }
  ASSIGN_OR_RETURN(const std::vector<EpochRecord> epochs,
                   store_->Epochs(id, limit <= 0 ? 100 : std::min(limit, kMostEpochs)));
  v1::ListEpochsResponse out;
  for (const EpochRecord& e : epochs) {
    v1::Epoch* epoch = out.add_epochs();
    epoch->set_epoch(e.epoch);
    epoch->set_live(e.live);
    epoch->set_start_step(e.start_step);
    epoch->set_end_step(e.live ? std::max(live_step, e.start_step) : e.end_step);
    epoch->set_started_ms(e.started_ms);
    epoch->set_ended_ms(e.ended_ms);
    epoch->set_end_reason(e.end_reason);
    int32_t rank = 0;
    for (const MemberRecord& member : e.members) {
      v1::RunMember* m = epoch->add_members();
      m->set_worker(member.worker);
      m->set_incarnation(member.incarnation);
      m->set_rank(rank++);
      m->set_device(member.device);
    }
    if (!e.failure.empty() && !epoch->mutable_failure()->ParseFromString(e.failure)) {
      return absl::DataLossError(absl::StrCat("epoch ", e.epoch, " of run ", id,
                                              ": what failed in it cannot be read; restore a "
                                              "backup of the store"));
    }
  }
  return out;
}

}  // namespace tritter
