// Runs, workers, checkpoints and events as people read them. Pure.
#pragma once

#include <string>

#include "model/schedule.h"
#include "tritter/v1/runs.pb.h"
#include "tritterctl/proto_json.h"

namespace tritter {

std::string StateName(v1::RunState state);  // "running"

// `wide` adds columns.
std::string RunsTable(const v1::ListRunsResponse& runs, bool wide = false);
std::string WorkersTable(const v1::ListWorkersResponse& workers, int64_t now_ms, bool wide = false);
std::string CheckpointsTable(const v1::ListCheckpointsResponse& checkpoints, bool wide = false);
std::string EventLine(const v1::Event& event);
std::string EpochsTable(const v1::ListEpochsResponse& epochs, int64_t now_ms, bool wide = false);
// "warm-up up to step 20, decay from step 280 on", as the schedule has it.
std::string ScheduleWords(const ScheduleSpec& schedule);
// Everything about one run, with its newest events, epochs and checkpoints. A failure that it has
// left behind, and its configuration, are one line each unless `wide`.
std::string DescribeRun(const v1::Run& run, const v1::ListCheckpointsResponse& checkpoints,
                        const v1::ListEventsResponse& events,
                        const v1::ListEpochsResponse& epochs = {}, int64_t now_ms = 0,
                        bool wide = false);

// What is left when a run has ended: state, steps, figures, artefacts. Keys: those of Run, and
// "evaluations" (newest per source), "tokens_per_second" (mean over every step reported),
// "train_seconds".
OrderedJson RunSummary(const v1::Run& run);
std::string SummaryText(const v1::Run& run, const OrderedJson& summary);

}  // namespace tritter
