// Whether the rows of a run say what they can say. A row that is damaged is a matter of its run
// alone, which waits with the reason; everybody else works.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "coordinator/store/records.h"
#include "tritter/v1/runs.pb.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

// Errors of all: DataLoss with the row and the value.

// The run's own row. One that is not sound is `made` so in what would do harm: states that do not
// exist, numbers that computing with would overflow.
absl::Status CheckStoredRun(const RunRecord& record);
void MakeSound(RunRecord* record);

// Its committed checkpoints, oldest first.
absl::Status CheckStoredCheckpoints(const RunRecord& record,
                                    const std::vector<v1::Checkpoint>& checkpoints);

// A live epoch with what was handed out and given in it.
absl::Status CheckStoredEpoch(const EpochRecord& epoch, const std::vector<v1::Plan>& plans,
                              const std::vector<ShareRecord>& shares);

}  // namespace tritter
