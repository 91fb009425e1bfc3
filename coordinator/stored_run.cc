#include "coordinator/stored_run.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/decide/plan.h"

namespace tritter {
namespace {

constexpr int64_t kMost = int64_t{1} << 53;  // beyond every count, and every time in milliseconds

absl::Status Damaged(absl::string_view row, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the row ", row, " is damaged: ", what));
}

template <typename Record>
auto Numbers(Record* r) {
  return std::vector<std::pair<const char*, decltype(&r->step)>>{
      {"total_steps", &r->total_steps}, {"step", &r->step},
      {"best_step", &r->best_step},     {"epochs_lost", &r->epochs_lost},
      {"failures", &r->failures},       {"created_ms", &r->created_ms},
      {"started_ms", &r->started_ms},   {"finished_ms", &r->finished_ms}};
}

bool IsState(v1::RunState state) {
  return v1::RunState_IsValid(state) && state != v1::RUN_STATE_UNSPECIFIED;
}
bool IsIntent(Intent intent) {
  return intent == Intent::kRun || intent == Intent::kPause || intent == Intent::kCancel;
}

}  // namespace

absl::Status CheckStoredRun(const RunRecord& r) {
  const std::string row = absl::StrCat("runs of ", r.run_id);
  if (!IsState(r.state)) return Damaged(row, absl::StrCat("its state is ", int{r.state}));
  if (!IsIntent(r.intent))
    return Damaged(row, absl::StrCat("its intent is ", static_cast<int>(r.intent)));
  for (const auto& [name, number] : Numbers(&r)) {
    if (*number < 0 || *number > kMost)
      return Damaged(row, absl::StrCat("its ", name, " is ", *number));
  }
  if (r.epoch > static_cast<uint64_t>(kMost))
    return Damaged(row, absl::StrCat("its epoch is ", r.epoch));
  if (r.run_id.empty() || r.name.empty()) return Damaged(row, "it has no name");
  if (!absl::StartsWith(r.run_dir, "/"))
    return Damaged(row,
                   absl::StrCat("its folder is \"", r.run_dir, "\", expected an absolute one"));
  return absl::OkStatus();
}

void MakeSound(RunRecord* r) {
  if (!IsState(r->state)) r->state = v1::RUN_STATE_QUEUED;  // where it can be looked at, and ended
  if (!IsIntent(r->intent)) r->intent = Intent::kRun;
  for (const auto& [name, number] : Numbers(r)) *number = std::clamp<int64_t>(*number, 0, kMost);
  r->epoch = std::min(r->epoch, static_cast<uint64_t>(kMost));
}

absl::Status CheckStoredCheckpoints(const RunRecord& record,
                                    const std::vector<v1::Checkpoint>& checkpoints) {
  int64_t before = -1;
  for (const v1::Checkpoint& c : checkpoints) {
    if (c.step() <= before || c.step() > record.total_steps) {
      return Damaged(absl::StrCat("checkpoints of run ", record.run_id),
                     absl::StrCat("its step is ", c.step(), ", the one before has ", before,
                                  ", the run has ", record.total_steps));
    }
    before = c.step();
  }
  return absl::OkStatus();
}

absl::Status CheckStoredEpoch(const EpochRecord& e, const std::vector<v1::Plan>& plans,
                              const std::vector<ShareRecord>& shares) {
  const std::string of = absl::StrCat(" of run ", e.run_id, ", epoch ", e.epoch);
  constexpr size_t kMostName = 128;
  if (e.epoch == 0 || e.epoch > static_cast<uint64_t>(kMost) || e.start_step < 0 ||
      e.start_step > kMost)
    return Damaged(absl::StrCat("epochs", of), absl::StrCat("it begins at step ", e.start_step));
  if (e.members.empty()) return Damaged(absl::StrCat("members", of), "there is none");
  for (const MemberRecord& m : e.members) {
    if (m.worker.empty() || m.worker.size() > kMostName || m.memory_bytes < 0) {
      return Damaged(absl::StrCat("members", of),
                     absl::StrCat("a worker has a name of ", m.worker.size(), " bytes and ",
                                  m.memory_bytes, " bytes of memory"));
    }
  }
  const auto world = static_cast<int64_t>(e.members.size());
  int64_t end = e.start_step;
  for (const v1::Plan& plan : plans) {
    const std::string row = absl::StrCat("plans", of);
    if (plan.first_step() != end || (plan.end_step() <= end && !IsClosing(plan)) ||
        plan.end_step() > kMost) {
      return Damaged(row, absl::StrCat("a plan of steps ", plan.first_step(), " to ",
                                       plan.end_step(), " follows step ", end));
    }
    end = plan.end_step();
    if (plan.shares_size() != world) {
      return Damaged(row, absl::StrCat("it divides a batch into ", plan.shares_size(),
                                       " shares for ", world, " members"));
    }
    for (const v1::RankShare& share : plan.shares()) {
      if (share.count() < 0)
        return Damaged(row, absl::StrCat("a share has ", share.count(), " sequences"));
    }
  }
  for (const ShareRecord& share : shares) {
    if (share.rank < 0 || share.rank >= world || share.step < 0 || share.step > kMost) {
      return Damaged(absl::StrCat("shares", of), absl::StrCat("it is of rank ", share.rank, " of ",
                                                              world, " and step ", share.step));
    }
  }
  return absl::OkStatus();
}

}  // namespace tritter
