// The coordinator: admits runs, forms epochs of workers, hands out plans, commits checkpoints, and
// goes on whatever dies. It gathers snapshots for the decisions in decide/ and carries their
// actions out; it knows no RPC.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/mutex.h"
#include "coordinator/data_catalog.h"
#include "coordinator/decide/admission.h"
#include "coordinator/decide/dependencies.h"
#include "coordinator/decide/fair_share.h"
#include "coordinator/decide/held.h"
#include "coordinator/decide/loss.h"
#include "coordinator/decide/plan.h"
#include "coordinator/decide/reshape.h"
#include "coordinator/decide/run_life.h"
#include "coordinator/decide/schedule.h"
#include "coordinator/decide/split.h"
#include "coordinator/decide/stop.h"
#include "coordinator/decide/straggler.h"
#include "coordinator/decide/wait_cause.h"
#include "coordinator/decide/world.h"
#include "coordinator/pulse.h"
#include "coordinator/run_entry.h"
#include "coordinator/run_turn.h"
#include "coordinator/store/store.h"
#include "coordinator/store/write_queue.h"
#include "coordinator/worker_registry.h"
#include "model/checkpoint_store.h"
#include "model/export.h"
#include "tritter/v1/runs.pb.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

struct RunReportInputs;  // coordinator/report/run_report.h

// Writes the deployable file of a completed run.
using ExportFunction = std::function<absl::StatusOr<v1::Artifact>(
    const CheckpointReader& checkpoint, const std::string& path, const ExportOptions& options)>;
// Has the inference server at host:port load the model of that name from its --model-root. Errors:
// Unavailable, DeadlineExceeded and Aborted say that trying again may help.
using LoadModelFunction =
    std::function<absl::Status(const std::string& server, const std::string& model)>;

struct CoordinatorOptions {
  std::string data_dir;            // absolute; runs lie in data_dir/runs/<run_id>
  std::vector<std::string> roots;  // data of runs must lie below one of them; empty: anywhere
  // For jobs that serve: host:port of the inference servers, and the folder that is their
  // --model-root as this process sees it. Empty: such jobs are refused.
  std::vector<std::string> inference_servers;
  std::string model_root;
  bool background = true;  // own threads for what takes long; else the caller calls Tick
  absl::Duration tick = absl::Milliseconds(200);
  absl::Duration collective_timeout = absl::Seconds(60);
  absl::Duration forget_lost_workers = absl::Hours(1);
  // History that goes when it is old: see Prune in store/records.h. By default none does.
  int64_t keep_events = 0;
  absl::Duration keep_keys = absl::InfiniteDuration();
  AdmissionOptions admission;
  LivenessOptions liveness;
  PlanOptions plan;
  ReshapeOptions reshape;
  StragglerOptions straggler;
  SplitOptions split;
  WorldOptions world;
  std::map<std::string, double> project_weights;  // decide/fair_share.h
};

struct CoordinatorDependencies {
  Store* store = nullptr;
  Env* env = nullptr;
  Clock* clock = nullptr;
  DataCatalog* catalog = nullptr;
  ExportFunction exporter;
  LoadModelFunction load_model = nullptr;    // with inference_servers
  std::function<std::string()> run_id = {};  // a new one, never used before; unset: a random one
  // Whether this process runs. Unset: with threads a PulseThread, else Tick is the pulse.
  Pulse* pulse = nullptr;
};

// Where a watcher is. Starts empty.
struct WatchCursor {
  uint64_t version = 0;
  uint64_t sequence = 0;
  int64_t event_id = 0;
};

// Figures for the metrics page, counted since the start of the process.
struct CoordinatorStats {
  // A run that is queued, training or stopping.
  struct Training {
    int64_t step = 0;
    double checkpoint_age_seconds = 0;  // since the newest commit, or since it first started; 0:
                                        // it never did
    double active_seconds = 0;          // since it first started, without pauses
    double productive_seconds = 0;      // of steps that a checkpoint holds
    std::string straggler;              // a worker that the others wait for, "" for none
    double straggler_ratio = 0;         // its time for a step, over the others'
    std::string waiting;                // WaitCauseName, "" while it trains
  };
  // Of runs by what they show (ShownState): "waiting" are those that should train and do not.
  std::map<std::string, int64_t> runs_by_state, workers_by_state;
  std::map<std::string, int64_t> epochs_by_reason;  // "start", "resume", "loss", "failure"
  std::map<std::string, int64_t> losses_by_reason;  // "stream", "silence", "restart", "replaced"
  std::map<std::string, Training> training;         // by run id
  int64_t heartbeats = 0, plans = 0, commits = 0, failed_commits = 0;
  int64_t store_bytes = 0;  // what the store takes on disk, a minute ago at most; 0: not known
};

// Thread-safe. Dependencies outlive it. Owns one thread for decisions (and one each while an export
// runs, checkpoints are verified, older ones are dropped) unless background is off. Typed errors
// (coordinator/errors.h) throughout; ResourceExhausted and the like come from the store: nothing is
// lost then, and the call may be repeated.
//
// One lock guards what is in memory, and nobody waits for a disk under it: writes, reads of the
// store and of files are done without. What is stored of a run is changed by one thread at a time
// (RunTurn), before memory is: what anyone sees, or is answered, is stored. So heartbeats, and
// calls about other runs, never wait for a write.
class Coordinator {
 public:
  // Loads the store, tidies checkpoint folders, waits for the members of live epochs.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(
      const CoordinatorDependencies& dependencies, CoordinatorOptions options);
  // Ends sessions and threads; live epochs stay live in the store and go on when a coordinator
  // starts again.
  ~Coordinator();

  // --- runs: errors as RunService says ---
  absl::StatusOr<v1::SubmitRunResponse> Submit(const v1::SubmitRunRequest& request);
  absl::StatusOr<v1::ValidateRunResponse> Validate(const v1::ValidateRunRequest& request);
  // `for_change`: the one that Pause, Resume, Cancel and Delete would take.
  absl::StatusOr<v1::Run> Get(const std::string& run, bool for_change = false);
  v1::ListRunsResponse List(int64_t limit);
  absl::StatusOr<v1::Run> Pause(const std::string& run, const std::string& request_id = "");
  absl::StatusOr<v1::Run> Resume(const std::string& run, const std::string& request_id = "");
  absl::StatusOr<v1::Run> Cancel(const std::string& run, bool now,
                                 const std::string& request_id = "");
  absl::StatusOr<v1::DeleteRunResponse> Delete(const std::string& run,
                                               const std::string& request_id = "");
  absl::StatusOr<v1::Run> CheckDeletion(const std::string& run);
  absl::StatusOr<v1::ListEventsResponse> ListEvents(const v1::ListEventsRequest& request);
  absl::StatusOr<v1::ListMetricsResponse> ListMetrics(const v1::ListMetricsRequest& request);
  absl::StatusOr<v1::ListCheckpointsResponse> ListCheckpoints(const std::string& run);
  absl::StatusOr<v1::ListEpochsResponse> ListEpochs(const std::string& run, int64_t limit);
  v1::ListWorkersResponse ListWorkers();
  // Waits up to `wait` for a change beyond the cursor. False: nothing new. `ended`: the run is in a
  // final state and the update (if any) is the last. Cancelled when the coordinator stops.
  absl::StatusOr<bool> Watch(const std::string& run, absl::Duration wait, WatchCursor* cursor,
                             v1::RunUpdate* update, bool* ended);
  // Log lines after `*sequence`, which moves; `tail` bounds the first read. `worker`: of this one
  // alone, "" of all. `ended` as above.
  absl::StatusOr<std::vector<v1::LogLine>> Logs(const std::string& run, int64_t tail,
                                                int64_t* sequence, bool* ended,
                                                const std::string& worker = "");

  // --- workers: errors as WorkerService says ---
  absl::StatusOr<v1::RegisterResponse> Register(const v1::RegisterRequest& request);
  // The session's id. Commands that the worker may have missed are pushed at once.
  absl::StatusOr<uint64_t> OpenSession(const v1::Heartbeat& first,
                                       std::shared_ptr<CommandSink> sink);
  absl::Status Beat(uint64_t session, const v1::Heartbeat& heartbeat);
  void CloseSession(uint64_t session);
  absl::Status PublishRendezvous(const v1::PublishRendezvousRequest& request);
  absl::StatusOr<v1::NextPlanResponse> NextPlan(const v1::NextPlanRequest& request);
  absl::Status Report(const v1::ReportRequest& request);
  absl::StatusOr<v1::CommitShareResponse> CommitShare(const v1::CommitShareRequest& request);

  // One round of decisions: losses, ends of epochs, retries of commits, placement, exports.
  void Tick();
  CoordinatorStats Stats();
  // For probes; never waits for work in hand. Unavailable: stopping, or the last write of the store
  // failed, less than half a minute ago: who writes nothing learns nothing new.
  absl::Status Health();
  // An event of no run, e.g. that this coordinator leads now. Errors: the store's.
  absl::Status Announce(const std::string& kind, const std::string& message);
  // Watchers and followers return Cancelled from now on, sessions are closed. Idempotent; the
  // destructor calls it.
  void Stop();

 private:
  Coordinator(const CoordinatorDependencies& dependencies, CoordinatorOptions options);
  absl::Status Load();
  // A run with its rows. Those that cannot be used are its spec_error.
  absl::StatusOr<RunEntry> ReadRun(RunRecord record);
  // With which state in memory the run's newest epoch began, if it did: for HeldInputs.
  absl::Status RecallOrigin(RunEntry* run) REQUIRES(mu_);
  // The newest part of its curves, and what is not committed of them.
  absl::Status ReadCurves(RunEntry* run);
  // A live epoch with its rows; with damage those that cannot be used are not there.
  struct StoredEpoch {
    EpochRecord record;
    std::vector<v1::Plan> plans;
    std::vector<ShareRecord> shares;
    std::string damage;
  };
  absl::StatusOr<StoredEpoch> ReadEpoch(const EpochRecord& record);
  // Where the run's checkpoints are kept.
  std::unique_ptr<CheckpointStore> CheckpointsOf(const RunEntry& run) const;
  // Tidies the run's checkpoints and records what is whole there; takes the run's turn for that. No
  // checkpoint of the run may be on its way meanwhile.
  absl::Status RecoverFolders(RunEntry* run) REQUIRES(mu_);
  void RunBackground();

  // What every function below that names RunEntry* or Fenced and writes expects: the run's turn.
  RunTurn TurnOf(RunEntry* run) REQUIRES(mu_) { return RunTurn(&mu_, run->gate.get()); }
  // UNKNOWN_WORKER, STALE_INCARNATION, UNKNOWN_RUN; once more by Fence, when the turn has come.
  absl::StatusOr<RunTurn> TurnOf(const v1::WorkerIdentity& worker, const std::string& run_id)
      REQUIRES(mu_);
  // The result of `work`, which reads the store or files. The lock is given up meanwhile.
  template <typename Work>
  auto Apart(const Work& work) REQUIRES(mu_) {
    mu_.Unlock();
    auto out = work();
    mu_.Lock();
    return out;
  }
  // The one way to write to the store: remembers whether that works. The lock is given up
  // meanwhile. Writes become durable in the order of these calls, and events get their ids here, so
  // that none appears behind a later one.
  absl::Status Write(WriteBatch* batch) REQUIRES(mu_);
  // Of a write that was answered with Unavailable: it is known to be there all the same.
  bool WasStored(const WriteBatch& batch) EXCLUDES(mu_);
  int64_t NowMs() { return absl::ToUnixMillis(clock_->Now()); }
  v1::Event NewEvent(const std::string& run_id, const std::string& kind,
                     const std::string& message);
  void Touch(RunEntry* run) REQUIRES(mu_);
  // Newest first.
  std::vector<RunEntry*> RunsNamed(const std::string& name) REQUIRES(mu_);
  // By id or name: of several the newest.
  absl::StatusOr<RunEntry*> FindRun(const std::string& run) REQUIRES(mu_);
  // Of several the one that a change is for (RunToChange), else AMBIGUOUS_RUN.
  absl::StatusOr<RunEntry*> FindRunToChange(const std::string& run) REQUIRES(mu_);
  // A name like `wanted` that no run has, and none that is being submitted gets.
  std::string FreeName(const std::string& wanted) REQUIRES(mu_);
  // That another run which has not ended has the run's name; "" when none has.
  std::string NameWarning(const RunRecord& run) REQUIRES(mu_);
  // For reads of the store that may take long: those are done without the lock.
  absl::StatusOr<std::string> RunId(const std::string& run);
  // The live epoch the request names, with the sender's rank. UNKNOWN_WORKER, STALE_INCARNATION,
  // UNKNOWN_RUN, STALE_EPOCH.
  struct Fenced {
    RunEntry* run = nullptr;
    EpochEntry* epoch = nullptr;
    int rank = 0;
  };
  absl::StatusOr<Fenced> Fence(const v1::WorkerIdentity& worker, const std::string& run_id,
                               uint64_t epoch) REQUIRES(mu_);

  // Of a late report to the ended epoch: losses and evaluations of steps that are not trained
  // again.
  absl::Status KeepCommitted(const v1::ReportRequest& request, int rank, RunEntry* run)
      REQUIRES(mu_);
  // Takes out those of steps up to `up_to` that are in the curve of their run already.
  absl::Status DropKnown(int64_t up_to, std::vector<EvaluationRecord>* evaluations) REQUIRES(mu_);
  // The worker cannot read the run's configuration: it does not get the run again.
  void NoteUnreadable(const v1::ReportRequest& request) REQUIRES(mu_);
  // A worker's failure, for CheckEpochs.
  void Complain(const v1::ReportRequest& request, int rank, EpochEntry* epoch) REQUIRES(mu_);

  // runs
  struct Prepared {
    RunSpec spec;
    std::string yaml, hash;
  };
  absl::StatusOr<Prepared> Prepare(const std::string& yaml, const std::string& file_name,
                                   const std::string& base_dir);
  absl::Status Admit(const RunSpec& spec, const std::vector<SourceFacts>& sources) REQUIRES(mu_);
  // The run that `spec` extends or clones, and those of its checkpoints with which it may begin,
  // newest first.
  struct Origin {
    std::string run_id, run_dir;
    RunSpec spec;
    std::vector<v1::Checkpoint> checkpoints;
  };
  absl::StatusOr<Origin> FindOrigin(const RunSpec& spec) EXCLUDES(mu_);
  // `sources`: those of the run that begins.
  absl::Status CheckTokenizer(const RunSpec& spec, const Origin& origin,
                              const std::vector<SourceFacts>& sources);
  // Makes the newest of them that is whole the first checkpoint of the new run `record`; `run`
  // then names run and step.
  absl::StatusOr<v1::Checkpoint> CopyOrigin(const RunRecord& record,
                                            const std::vector<SourceFacts>& sources, Prepared* run)
      EXCLUDES(mu_);
  absl::StatusOr<v1::SubmitRunResponse> KnownKey(const std::string& key, const std::string& hash,
                                                 bool* known) REQUIRES(submit_mu_, mu_);
  // With the key of the request that asks for it, which then is known.
  absl::StatusOr<v1::Run> ChangeState(RunEntry* run, RunRecord next, const std::string& kind,
                                      const IdempotencyRecord& request = {}) REQUIRES(mu_);
  // `killed`: it stops at once when no epoch of it lives.
  absl::StatusOr<v1::Run> AskToStop(RunEntry* run, Intent intent, v1::RunState stopping,
                                    const IdempotencyRecord& request, bool killed = false)
      REQUIRES(mu_);
  // Carries a change out once for each request id; a repeat is answered with the run as it is.
  using Change = std::function<absl::StatusOr<v1::Run>(RunEntry*, const IdempotencyRecord&)>;
  static absl::Status CheckRequestId(const std::string& request_id);
  static std::string ChangeKey(const std::string& request_id);  // in the store
  static absl::Status RequestIdTaken(const std::string& request_id, const std::string& what,
                                     const std::string& run, const IdempotencyRecord& known);
  absl::StatusOr<v1::Run> ChangeOnce(const std::string& name, const std::string& request_id,
                                     const std::string& what, const Change& change) EXCLUDES(mu_);
  // Waits a moment for who still writes there. FailedPrecondition: somebody goes on with that.
  absl::Status RemoveFolder(const RunRecord& run) EXCLUDES(mu_);
  // Nothing, or what is in the way of a run's deletion.
  absl::Status CheckDeletable(const RunEntry& run) REQUIRES(mu_);
  // Once a minute: takes away a part of the history that has grown old, and looks how large the
  // store is.
  void KeepHouse();
  // `of` and `after` become identifiers.
  absl::Status ResolveReferences(RunSpec* spec) REQUIRES(mu_);
  // FailedPrecondition: one of those was deleted.
  absl::Status CheckNeedsAreThere(const RunEntry& run) REQUIRES(mu_);
  // How the runs stand that it must wait for.
  Wait Dependencies(const RunEntry& run) REQUIRES(mu_);
  // Who failed first in the live epoch, with what it logged last.
  v1::Failure FailureOf(const RunEntry& run, const EpochEnd& end) REQUIRES(mu_);

  // workers and epochs
  void SendStanding(WorkerEntry* entry) REQUIRES(mu_);
  // Of the event that the run's epoch has stopped. `next`: the run's record after it.
  std::string StoppedAt(const RunEntry& run, const EpochRecord& ended, const RunRecord& next)
      REQUIRES(mu_);
  void HandleIdle(WorkerEntry* worker) REQUIRES(mu_);
  v1::Command AssignmentFor(const RunEntry& run, int rank) REQUIRES(mu_);
  // What cannot be stored is tried again by the next tick.
  void EndEpoch(RunEntry* run, const EpochEnd& end) REQUIRES(mu_);
  // As that, in one write with the wish that ends it: `wished` is the run's record with it,
  // `request` the key of who asks. On an error, the store's, the epoch lives on.
  absl::Status TryEndEpoch(RunEntry* run, const EpochEnd& end, const RunRecord& wished,
                           const IdempotencyRecord& request) REQUIRES(mu_);
  // It was told to leave, and owes no epoch anything.
  bool LeftAsTold(const WorkerEntry& worker) REQUIRES(mu_);
  // Copies of workers as they were. These two need no turn; the second takes it.
  void RecordLosses(const std::vector<WorkerEntry>& workers) REQUIRES(mu_);
  // The run that it trains; of one that has left as it was told, the last that it trained.
  std::string RunOf(const WorkerEntry& worker) REQUIRES(mu_);
  // `lost`: all that were found lost together.
  void EndEpochOfLost(const WorkerEntry& worker, const std::vector<WorkerEntry>& lost)
      REQUIRES(mu_);
  // From whose memory the run may go on now; `among`: of these workers alone.
  std::optional<HeldChoice> HeldOf(const RunEntry& run,
                                   const std::vector<std::string>* among = nullptr) REQUIRES(mu_);
  HeldInputs HeldInputsOf(const RunEntry& run) REQUIRES(mu_);
  std::vector<std::string> DevicesOf(const std::vector<std::string>& workers) REQUIRES(mu_);
  // Members of its newest epoch, which has ended, that may yet tell of a later state than its
  // newest checkpoint.
  std::vector<std::string> SilentHolders(const RunEntry& run) REQUIRES(mu_);
  // They are waited for: before a checkpoint is chosen, for as long as leaving an epoch may take.
  bool WaitsForHolders(RunEntry* run) REQUIRES(mu_);
  std::string RepeatedBecause(const RunEntry& run) REQUIRES(mu_);
  // With these workers another run loses a state of its own that nobody else holds: an event of
  // that run each, into the batch. Their ids.
  std::vector<std::string> TakeFromOthers(const RunEntry& run,
                                          const std::vector<std::string>& workers,
                                          WriteBatch* batch) REQUIRES(mu_);
  // While it waits for workers: "it goes on from step 462, which w1 holds in memory". Empty when it
  // has trained nothing, or waits for something else.
  std::string GoesOnFrom(const RunEntry& run, WaitCause cause) REQUIRES(mu_);
  // Whether one of those it would get holds its state. No checkpoint is read then.
  bool FromMemory(RunEntry* run, const std::vector<std::string>& members) REQUIRES(mu_);
  struct Queue {
    std::vector<WaitingRun> waiting;
    std::vector<WorkerView> workers;     // by name
    std::vector<uint64_t> incarnations;  // of those
    // By run id: WorldNeeds::cannot_read.
    std::map<std::string, std::map<std::string, std::string>> cannot_read;
    ProjectShares shares;  // of the runs that train
    std::vector<Placement> placements;
  };
  // Whether it still waits, and the same processes for it: the lock may have been given up since
  // that was decided. Not before the epochs of those that were replaced have ended.
  bool MayForm(const RunEntry& run, const Queue& queue, const Placement& placement) REQUIRES(mu_);
  absl::Status FormEpoch(RunEntry* run, const std::vector<std::string>& workers,
                         const std::string& reason) REQUIRES(mu_);
  void SetWaiting(RunEntry* run, const Wait& wait) REQUIRES(mu_);

  // Whether and why the live epoch of the run is to end.
  StopDecision StopOf(const RunEntry& run) REQUIRES(mu_);
  struct SharesOfPlan {
    std::vector<v1::RankShare> shares;  // by rank; empty: equal ones
    std::vector<double> seconds;        // of each rank for a sequence, as KnownSpeed; 0: unknown
    bool unmeasured = false;            // they go by speed, and not every rank's is known
  };
  // How the ranks divide the batches of the next plan. Adds an event when that is another split
  // than that of the plan before.
  SharesOfPlan DecideShares(const Fenced& at, WriteBatch* batch) REQUIRES(mu_);
  // The rank has nothing left to do in its epoch. Who hears that leaves, so that it is stored
  // first: a coordinator that is started meanwhile must not wait for who has left.
  absl::Status TellDone(const Fenced& at, v1::NextPlanResponse* out) REQUIRES(mu_);
  // All ranks stopped at `step`, inside a plan: it ends there, and those after it are gone.
  absl::Status CutPlans(const Fenced& at, int64_t step) REQUIRES(mu_);

  // parts of a tick
  void TellToYield(RunEntry* run) REQUIRES(mu_);
  void LookForStraggler(RunEntry* run) REQUIRES(mu_);
  void CheckWorkers() REQUIRES(mu_);
  void CheckEpochs() REQUIRES(mu_);
  void CheckEpoch(RunEntry* run) REQUIRES(mu_);
  void FinishIfTrained(RunEntry* run) REQUIRES(mu_);
  void RetryCommits();
  void Place();
  Queue Decide() REQUIRES(mu_);
  // Marks the groups that are to be formed anew; they are told with the next tick.
  ReshapeDecision MarkReshapes(const Queue& queue) REQUIRES(mu_);
  // Reads whole checkpoints: on a thread of its own, so that losses of other runs are seen
  // meanwhile.
  void StartVerification(std::vector<std::string> run_ids);
  void ChooseResume(const std::string& run_id);
  // When `next` is a completed run: writes its report, and adds the event to the batch. Before the
  // state is stored, so that whoever sees the run complete finds the report.
  void AddReport(const RunEntry& run, const RunRecord& next, const v1::Artifact* artifact,
                 WriteBatch* batch) REQUIRES(mu_);
  absl::Status WriteReportFiles(const std::string& run_dir, RunReportInputs in);
  // Jobs whose dependencies are complete leave the queue.
  void StartJobs();
  absl::Status CheckJob(const RunSpec& spec) REQUIRES(mu_);
  std::string DefaultModelName(const RunSpec& spec) REQUIRES(mu_);
  void StartDeployments();
  void DeployRun(const std::string& run_id);
  absl::Status PublishModel(const v1::Artifact& artifact, const std::string& model);
  void StartExports();
  void ExportRun(const std::string& run_id);
  absl::StatusOr<v1::Artifact> ExportStep(CheckpointStore* store, int64_t step,
                                          const std::string& path, const ExportOptions& options);

  // checkpoints
  absl::Status TakeShare(const Fenced& at, const v1::CommitShareRequest& request) REQUIRES(mu_);
  absl::Status CheckFiles(const RunEntry& run, const v1::CommitShareRequest& request) REQUIRES(mu_);
  // Commits the checkpoint of `step` when every share is there. The run's turn is given back while
  // files are written.
  absl::StatusOr<bool> CommitIfComplete(RunEntry* run, RunTurn* turn, uint64_t epoch, int64_t step)
      REQUIRES(mu_);
  absl::Status RecordCommit(RunEntry* run, v1::Checkpoint checkpoint) REQUIRES(mu_);
  // Retention. Reads a whole checkpoint: on a thread of its own, so that neither decisions nor the
  // workers' calls wait for that.
  void StartRetention();
  void DropOlder(const std::string& run_id);
  // What retention would drop, with what the store says of the held-out losses.
  absl::StatusOr<std::vector<int64_t>> ToDrop(const std::string& run_id,
                                              const std::vector<v1::Checkpoint>& checkpoints,
                                              const RetentionRule& rule);

  Store* const store_;
  Env* const env_;
  Clock* const clock_;
  DataCatalog* const catalog_;
  const ExportFunction exporter_;
  const LoadModelFunction load_model_;
  const std::function<std::string()> run_id_;
  const CoordinatorOptions options_;
  PulseRecord ticks_;             // the pulse of a coordinator without threads
  std::unique_ptr<Pulse> heart_;  // its own
  Pulse* pulse_ = nullptr;        // that is asked
  std::string coordinator_id_;

  Mutex tick_mu_;    // one tick at a time; taken before mu_
  Mutex submit_mu_;  // one submission is looked at and stored at a time; taken before mu_
  Mutex mu_;
  WriteQueue writes_;
  CondVar changed_;                                       // watchers
  CondVar wake_;                                          // the background thread
  std::map<std::string, RunEntry> runs_ GUARDED_BY(mu_);  // by id; never erased
  WorkerRegistry workers_ GUARDED_BY(mu_);
  // What the submission under submit_mu_ waits for or works on, until its run is in runs_.
  std::vector<std::string> submitting_needs_ GUARDED_BY(mu_);
  // Names that were found free for submissions which are under way.
  std::set<std::string> promised_names_ GUARDED_BY(mu_);
  // In whose place another process of its name is since the last tick.
  std::vector<WorkerEntry> replaced_ GUARDED_BY(mu_);
  int64_t next_event_id_ GUARDED_BY(mu_) = 1;
  CoordinatorStats stats_ GUARDED_BY(mu_);
  absl::Duration last_tick_ GUARDED_BY(mu_);
  absl::Duration back_since_ GUARDED_BY(mu_) = -absl::InfiniteDuration();  // end of an absence
  bool stopping_ GUARDED_BY(mu_) = false;
  bool kicked_ GUARDED_BY(mu_) = false;
  Mutex health_mu_;  // taken after mu_, held for moments only
  absl::Status health_ GUARDED_BY(health_mu_);
  absl::Duration health_until_ GUARDED_BY(health_mu_);  // Clock::Monotonic: then it is old news
  absl::Duration keep_house_at_ GUARDED_BY(mu_);        // Clock::Monotonic
  bool verifying_ GUARDED_BY(mu_) = false;
  bool retaining_ GUARDED_BY(mu_) = false;
  std::thread background_;
  std::thread verify_thread_;     // of the tick
  std::thread retention_thread_;  // of the tick
  std::thread export_thread_;
  std::thread deploy_thread_;
};

}  // namespace tritter
