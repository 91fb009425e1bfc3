#include "worker/training/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "kernels/ternary_gemm.h"
#include "kernels/training_ops.h"
#include "worker/training/attention_rule.h"
#include "worker/training/block_pool.h"
#include "worker/training/evaluation.h"
#include "worker/training/gradient_reducer.h"
#include "worker/training/initialise.h"
#include "worker/training/loss.h"
#include "worker/training/network.h"
#include "worker/training/newton_schulz.h"
#include "worker/training/non_finite.h"
#include "worker/training/optimizer.h"
#include "worker/training/optimizer_state.h"
#include "worker/training/outer_sync.h"
#include "worker/training/parallel.h"
#include "worker/training/serving_forward.h"
#include "worker/training/state_share.h"
#include "worker/training/tensor_memory.h"
#include "worker/training/trainer_checks.h"

namespace tritter {
namespace {

constexpr int64_t kBucketFloats = int64_t{1} << 18;  // 1 MiB

// What lies beside the tensors (tensor_memory.h) is freed and allocated again and again too:
// without this the C library gives the pages back and the kernel clears them anew every time.
// Process-wide.
void KeepFreedPages() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

// After something that a step does not do.
void ReturnFreedPages() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

// Seconds of each part of a step.
class Stopwatch {
 public:
  double Lap() {
    const absl::Duration now = Clock::Real()->Monotonic();
    return absl::ToDoubleSeconds(now - std::exchange(last_, now));
  }

 private:
  absl::Duration last_ = Clock::Real()->Monotonic();
};

GemmType TypeOf(const std::string& precision) {
  const bool bf16 = precision == "bf16" || (precision == "auto" && HasBf16Gemm());
  return bf16 ? GemmType::kBf16 : GemmType::kFp32;
}

constexpr char kFreeMemory[] = "free memory on this machine, or train on one that has more";

class CpuTrainer : public Trainer {
 public:
  explicit CpuTrainer(const Options& options)
      : options_(options),
        spec_(options.spec),
        parameters_(spec_.model),
        owners_(OwnersOf(spec_, parameters_, options.collective)),
        state_(spec_, parameters_, owners_, spec_.shard_optimizer ? options.collective->rank() : 0),
        sink_(&parameters_),
        parallel_(options.threads),
        products_(TypeOf(options.spec.precision), &parallel_),
        optimizer_(spec_, NewtonSchulz, &parallel_),
        reducer_(parameters_.slots(), parameters_.gradient(), StepGroup(),
                 {options.mixed_devices ? kMixedBucketFloats : kBucketFloats,
                  /*in_order=*/options.mixed_devices}) {
    if (IsOuter(spec_)) outer_.emplace(spec_, parameters_.slots());
    sink_.set_ready([this](int64_t offset, int64_t size) { reducer_.Ready(offset, size); });
  }

  absl::Status Build() {
    context_ = LayerContext{&spec_.model, &parameters_, &sink_,
                            &parallel_,   &products_,   spec_.activation_checkpointing};
    const LinearFactory linears = BitLinearFactory(context_);
    ASSIGN_OR_RETURN(network_, Network::Create(context_, linears));
    ASSIGN_OR_RETURN(loss_, NextTokenLoss(context_, linears, {.z_loss = spec_.z_loss}));
    copies_.Reserve(ShareBytes(parameters_, state_, options_.collective->rank(),
                               options_.collective->world_size()));
    return absl::OkStatus();
  }

  absl::Status InitialiseFresh() override {
    InitialiseParameters(spec_.seed, spec_.model, &parameters_);
    state_.Reset(parameters_);
    if (outer_.has_value()) outer_->Begin(parameters_.weight());
    step_ = 0;
    whole_ = true;
    return absl::OkStatus();
  }

  absl::Status Load(const CheckpointReader& checkpoint) override {
    whole_ = false;
    return CatchFailures("reading the checkpoint", kFreeMemory, [&]() -> absl::Status {
      RETURN_IF_ERROR(ReadState(checkpoint, options_.collective->rank(), &parameters_, &state_));
      if (outer_.has_value()) outer_->Begin(parameters_.weight());
      step_ = checkpoint.manifest().step;
      whole_ = true;
      return absl::OkStatus();
    });
  }

  bool whole() const override { return whole_ && !spec_.shard_optimizer && !IsOuter(spec_); }

  void Rebind(Collective* collective) override {
    options_.collective = collective;
    reducer_.Rebind(StepGroup());
  }

  absl::Status ShareState(int root, bool take) override {
    if (take) whole_ = false;
    return CatchFailures("sharing the state", kFreeMemory, [&]() -> absl::Status {
      RETURN_IF_ERROR(
          BroadcastState(root, take, options_.collective, &step_, &parameters_, &state_));
      whole_ = whole_ || take;
      return absl::OkStatus();
    });
  }

  absl::StatusOr<StepStats> Step(const Batch& batch, double weight_sum, int64_t micro_batch,
                                 double learning_rate) override;
  int64_t step() const override { return step_; }

  absl::StatusOr<EvaluationResult> Evaluate(
      const std::function<bool(std::vector<int64_t>* window)>& next, bool averaged) override {
    return CatchFailures("evaluation", kFreeMemory, [&]() -> absl::StatusOr<EvaluationResult> {
      ASSIGN_OR_RETURN(ServingForward * forward, Serving(averaged));
      return EvaluateWindows(forward, spec_.model, next, options_.collective);
    });
  }

  absl::StatusOr<std::vector<float>> Logits(absl::Span<const int64_t> tokens,
                                            bool averaged) override {
    return CatchFailures("the serving forward", kFreeMemory,
                         [&]() -> absl::StatusOr<std::vector<float>> {
                           ASSIGN_OR_RETURN(ServingForward * forward, Serving(averaged));
                           return forward->Logits(tokens);
                         });
  }

  absl::StatusOr<std::unique_ptr<TrainerSnapshot>> Snapshot() override {
    if (outer_.has_value()) RETURN_IF_ERROR(outer_->CheckBetweenRounds(step_));
    return CatchFailures("copying the state for a checkpoint", kFreeMemory,
                         [&]() -> absl::StatusOr<std::unique_ptr<TrainerSnapshot>> {
                           return CopyState(parameters_, state_, step_, options_.collective->rank(),
                                            options_.collective->world_size(), &copies_,
                                            &parallel_);
                         });
  }
  absl::StatusOr<std::string> StateHash() override {
    return HashState(parameters_, state_, owners_, options_.collective);
  }
  std::string description() const override {
    const bool bf16 = products_.type() == GemmType::kBf16;
    return absl::StrCat(
        "cpu, ", bf16 ? "bf16" : "fp32", spec_.precision == "auto" ? " (auto)" : "",
        bf16 && !HasBf16Gemm() ? " without the processor's own instructions, slower than fp32" : "",
        ", ", options_.threads, options_.threads == 1 ? " thread, " : " threads, ",
        BestIntegerGemm() == IntegerGemm::kInt8 ? "int8" : "float", " products, kernels ",
        SupportedTrainingOps().back()->name, "/", BestTernaryKernel().name);
  }

 private:
  // The rank that keeps the optimiser's state of each parameter: 0 for all when every rank does.
  static std::vector<int> OwnersOf(const RunSpec& spec, const ParameterStore& parameters,
                                   const Collective* collective) {
    return AssignShares(parameters.slots(), spec.shard_optimizer ? collective->world_size() : 1);
  }
  // With whom a step is taken; the ranks of sync outer take theirs alone.
  Collective* StepGroup() { return IsOuter(spec_) ? alone_.get() : options_.collective; }
  // The averaged weights, flat; of a sharded state those of all ranks, in the array of the
  // gradients, which are not needed between steps.
  absl::StatusOr<const float*> Averages() {
    if (state_.keeps_all()) return state_.average();
    float* const all = parameters_.gradient();
    for (size_t i = 0; i < owners_.size(); ++i) {
      const ParameterSlot& slot = parameters_.slots()[i];
      const float* average = state_.slots()[i].average;
      if (average != nullptr) std::copy(average, average + slot.size, all + slot.offset);
    }
    RETURN_IF_ERROR(ExchangeOwned(parameters_.slots(), owners_, options_.collective, all));
    return all;
  }
  // Packed once for everything that is asked between two changes of the weights.
  absl::StatusOr<ServingForward*> Serving(bool averaged) {
    Served& served = served_[averaged];
    if (!served.forward.has_value() || served.version != parameters_.version()) {
      const float* weights = parameters_.weight();
      if (averaged) {
        ASSIGN_OR_RETURN(weights, Averages());
      }
      tensors_->DropFree();  // an evaluation is no step: neither keeps memory for the other
      served.forward.emplace(spec_.model, parameters_, weights, &parallel_);
      served.version = parameters_.version();
    }
    return &*served.forward;
  }
  void EndEvaluation() {
    if (!served_[0].forward.has_value() && !served_[1].forward.has_value()) return;
    for (Served& served : served_) served.forward.reset();
    ReturnFreedPages();
  }
  absl::StatusOr<StepStats> RunStep(const Batch& batch, double weight_sum, int64_t micro_batch,
                                    double learning_rate);
  // Of sync outer: the round ends with the step that was taken.
  absl::StatusOr<OuterSync::Ended> EndRound() {
    return outer_->EndRound(step_, WishesToYield(), options_.collective,
                            {parameters_.MutableWeights(), state_.average(), state_.residual(),
                             state_.outer_momentum()});
  }
  // Forward and backward of sequences [first, first + count) of the batch; adds its Σ w ℓ.
  absl::Status RunMicroBatch(const Batch& batch, int64_t first, int64_t count, float gradient_scale,
                             StepStats* stats);
  // Forward again, looking at every weight and layer.
  std::string FirstBadTensor(const std::vector<int64_t>& inputs, SequenceShape shape);

  Options options_;  // the collective changes
  const RunSpec spec_;
  BlockPool* const tensors_ = TensorsFromPool();
  ParameterStore parameters_;
  const std::vector<int> owners_;  // by slot
  OptimizerState state_;
  GradientSink sink_;
  ParallelRows parallel_;
  MatrixProducts products_;
  CopyPool copies_;
  Optimizer optimizer_;
  const std::unique_ptr<Collective> alone_ = SingleProcessCollective();
  GradientReducer reducer_;
  std::optional<OuterSync> outer_;
  LayerContext context_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<HiddenLoss> loss_;
  int64_t step_ = 0;
  bool whole_ = false;  // nothing was left in the middle
  struct Served {
    uint64_t version = 0;  // of the parameters
    std::optional<ServingForward> forward;
  } served_[2];  // of the raw and the averaged weights
};

absl::Status CpuTrainer::RunMicroBatch(const Batch& batch, int64_t first, int64_t count,
                                       float gradient_scale, StepStats* stats) {
  Stopwatch watch;
  const int64_t length = spec_.sequence_length;
  std::vector<int64_t> inputs, targets;
  const absl::Span<const float> weights =
      absl::MakeConstSpan(batch.weights).subspan(first * length, count * length);
  for (int64_t s = first; s < first + count; ++s) {
    const int64_t* tokens = batch.tokens.data() + s * (length + 1);
    inputs.insert(inputs.end(), tokens, tokens + length);
    targets.insert(targets.end(), tokens + 1, tokens + length + 1);
  }
  DropTargets(spec_.model, inputs, length, absl::MakeSpan(targets));
  const std::vector<int32_t> document_start = DocumentStarts(spec_.model, inputs, length);
  const at::Tensor embedded = network_->Embed(inputs);
  const at::Tensor hidden = network_->Forward(embedded, {count, length, document_start.data()});
  const LossResult result = loss_->Compute(hidden.detach(), targets, weights, gradient_scale);
  stats->loss += result.loss;
  stats->forward_seconds += watch.Lap();
  if (!std::isfinite(result.loss)) {
    return NonFiniteError(absl::StrCat("the loss of step ", step_, " is ", result.loss),
                          FirstBadTensor(inputs, {count, length, document_start.data()}));
  }
  hidden.backward(result.hidden_gradient);
  network_->CommitEmbeddingGradient(embedded.grad(), inputs);
  stats->backward_seconds += watch.Lap();
  return absl::OkStatus();
}

std::string CpuTrainer::FirstBadTensor(const std::vector<int64_t>& inputs, SequenceShape shape) {
  NonFiniteSearch search(parameters_);
  const auto look = [&](absl::string_view name, const at::Tensor& x) {
    search.Output(name, x.data_ptr<float>(), x.numel());
  };
  const at::Tensor embedded = network_->Embed(inputs);
  look("embed", embedded);
  network_->Forward(embedded, shape, 0, look);
  const std::string found = search.Finish();
  return found.empty() ? "the logits" : found;
}

absl::StatusOr<StepStats> CpuTrainer::Step(const Batch& batch, double weight_sum,
                                           int64_t micro_batch, double learning_rate) {
  RETURN_IF_ERROR(CheckBatch(spec_, batch, weight_sum, micro_batch));
  return CatchFailures(
      absl::StrCat("step ", step_, " with micro-batches of ", micro_batch, " sequences"),
      "set training.micro_batch lower",
      [&] { return RunStep(batch, weight_sum, micro_batch, learning_rate); });
}

absl::StatusOr<StepStats> CpuTrainer::RunStep(const Batch& batch, double global_weight,
                                              int64_t micro_batch, double learning_rate) {
  StepStats stats;
  ASSIGN_OR_RETURN(const double weight_sum,
                   PredictedWeight(spec_, batch, global_weight, options_.collective));
  EndEvaluation();
  whole_ = false;  // who fails in a pass is not used again
  reducer_.BeginStep();
  const float gradient_scale = static_cast<float>(PerWeight(weight_sum));
  for (int64_t first = 0; first < batch.sequences; first += micro_batch) {
    const int64_t count = std::min(micro_batch, batch.sequences - first);
    sink_.BeginMicroBatch(first == 0, first + count == batch.sequences);
    RETURN_IF_ERROR(RunMicroBatch(batch, first, count, gradient_scale, &stats));
  }
  whole_ = true;  // gradients are not part of the state
  Stopwatch watch;
  RETURN_IF_ERROR(reducer_.Finish());
  stats.reduce_seconds = watch.Lap();
  stats.grad_norm = GradientNorm(parameters_, &parallel_);
  stats.optimizer_seconds = watch.Lap();
  if (!outer_.has_value())
    RETURN_IF_ERROR(ExchangeLoss(WishesToYield(), options_.collective, &stats));
  const double loss_sum = stats.loss;
  stats.loss = MeanLoss(loss_sum, weight_sum);
  stats.reduce_seconds += watch.Lap();
  if (!std::isfinite(stats.grad_norm)) {
    return NonFiniteError(
        absl::StrCat("the gradient of step ", step_, " is not finite (loss ", stats.loss, ")"),
        FirstNonFiniteGradient(parameters_));
  }
  whole_ = false;
  ++step_;
  optimizer_.Update(step_, learning_rate, stats.grad_norm, &parameters_, &state_);
  if (!state_.keeps_all()) {
    RETURN_IF_ERROR(ExchangeOwned(parameters_.slots(), owners_, options_.collective,
                                  parameters_.MutableWeights()));
  }
  stats.optimizer_seconds += watch.Lap();
  if (outer_.has_value()) {
    RETURN_IF_ERROR(
        outer_->Settle(step_, loss_sum, weight_sum, [this] { return EndRound(); }, &stats));
    stats.reduce_seconds += watch.Lap();
  }
  whole_ = true;
  tensors_->DropUnused();
  return stats;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const Options& options) {
  RETURN_IF_ERROR(CheckTrainerOptions(options));
  const RunSpec& spec = options.spec;
  KeepFreedPages();
  OneLibTorchThread();  // the trainer's own threads divide the work
  try {
    auto trainer = std::make_unique<CpuTrainer>(options);
    RETURN_IF_ERROR(trainer->Build());
    return std::unique_ptr<Trainer>(std::move(trainer));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("out of memory: ", ParameterCount(spec.model),
                     " parameters need 20 bytes each for the training state, and 16 for the copy "
                     "that checkpoints are written from"));
  }
}

}  // namespace tritter
