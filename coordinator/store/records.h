// What the coordinator keeps. Plain values; messages of the wire contract serve where a record is
// exactly what is shown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tritter/v1/runs.pb.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

// What the user asked of a run beside training to its end.
enum class Intent { kRun = 0, kPause = 1, kCancel = 2 };

// Times are milliseconds since the Unix epoch; 0 when it has not happened.
struct RunRecord {
  std::string run_id;
  std::string name;
  v1::RunState state = v1::RUN_STATE_QUEUED;
  std::string reason;  // why it is in this state, one sentence
  Intent intent = Intent::kRun;
  std::string spec_yaml;  // effective configuration
  std::string spec_hash;  // SHA-256 of spec_yaml, hex
  std::string run_dir;
  int64_t total_steps = 0;
  int64_t priority = 0;
  int64_t step = 0;       // optimiser steps done, as last reported
  int64_t best_step = 0;  // highest step ever reported: what counts as progress
  uint64_t epoch = 0;     // newest epoch; 0 before the first
  int64_t epochs_lost = 0;
  int64_t failures = 0;  // epochs ended without progress, in a row
  int64_t created_ms = 0, started_ms = 0, finished_ms = 0;
  // Sums over every step reported, repeated ones too: the mean speed without reading the curve.
  int64_t reported_tokens = 0, reported_us = 0;  // microseconds
  bool operator==(const RunRecord&) const = default;
};

struct MemberRecord {
  std::string worker;
  uint64_t incarnation = 0;
  std::string device;
  int64_t memory_bytes = 0;
  bool operator==(const MemberRecord&) const = default;
};

// A group of workers at work on a run. `members` by rank.
struct EpochRecord {
  std::string run_id;
  uint64_t epoch = 0;
  bool live = true;
  int64_t start_step = 0;
  std::string manifest_sha256;  // of the checkpoint it starts from; empty at step 0
  std::string rendezvous;       // host:port of rank 0's store, empty until published
  std::string end_reason;       // while it lives: why its members are told that they are done
  int64_t started_ms = 0, ended_ms = 0;
  int64_t end_step = 0;  // optimiser steps done when it ended, as last reported
  std::string failure;   // v1::Failure, serialised; empty when it ended as it should
  std::vector<MemberRecord> members;
  bool operator==(const EpochRecord&) const = default;
};

// A plan that was handed out: every rank and every repeat gets the same one.
struct PlanRecord {
  std::string run_id;
  uint64_t epoch = 0;
  v1::Plan plan;
};

// One rank's share of a checkpoint that waits for the others.
struct ShareRecord {
  std::string run_id;
  uint64_t epoch = 0;
  int64_t step = 0;
  int32_t rank = 0;
  v1::CommitShareRequest share;
};

struct CheckpointRecord {
  std::string run_id;
  v1::Checkpoint checkpoint;
};

// Steps are keyed by (run, step, epoch); a row that a later epoch repeats is superseded, never
// deleted.
struct MetricRecord {
  std::string run_id;
  v1::StepMetrics metrics;  // epoch is set
};

struct EvaluationRecord {
  std::string run_id;
  uint64_t epoch = 0;
  v1::EvaluationPoint point;
};

struct ArtifactRecord {
  std::string run_id;
  v1::Artifact artifact;
};

struct LogRecord {
  int64_t sequence = 0;  // set by the store, increasing
  std::string run_id;
  v1::LogLine line;
};

// A repeat with the same key and hash finds `run_id`; another hash is a conflict.
struct IdempotencyRecord {
  std::string key;
  std::string request_hash;
  std::string run_id;
  int64_t created_ms = 0;
};

// A report that was counted.
struct RequestRecord {
  std::string run_id;
  uint64_t epoch = 0;
  std::string request_id;
};

// Every row of the run beyond `after_step` was trained in work that is repeated now.
struct Supersede {
  std::string run_id;
  int64_t after_step = 0;
};

struct CheckpointKey {
  std::string run_id;
  int64_t step = 0;
};

struct EpochKey {
  std::string run_id;
  uint64_t epoch = 0;
};

// What old history is taken away; at most `rows` of each kind at a time, the oldest first. The
// newest event is never one of them.
struct Prune {
  // Of the newest so many events all are kept, and of those before them what runs have that have
  // not ended; of the ten times as many newest none else. 0: events are left alone.
  int64_t keep_events = 0;
  // Keys from before, but those of runs that have not ended.
  int64_t keys_before_ms = 0;
  int64_t rows = 0;
};

}  // namespace tritter
