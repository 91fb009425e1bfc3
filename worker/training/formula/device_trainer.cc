#include "worker/training/formula/device_trainer.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "model/cuda_limits.h"
#include "worker/training/attention_rule.h"
#include "worker/training/formula/device_optimizer.h"
#include "worker/training/formula/fused_network.h"
#include "worker/training/gradient_reducer.h"
#include "worker/training/initialise.h"
#include "worker/training/non_finite.h"
#include "worker/training/optimizer_state.h"
#include "worker/training/outer_sync.h"
#include "worker/training/state_share.h"
#include "worker/training/trainer_checks.h"

namespace tritter {
namespace {

constexpr int64_t kBucketFloats = int64_t{1} << 24;  // 64 MiB: NCCL wants large ones
constexpr int64_t kEvaluationTokens = int64_t{1} << 14;

// Seconds between marks: of the device's own clock where work is only started by the call, and read
// when it is done.
class PhaseClock {
 public:
  explicit PhaseClock(const at::Device& device) : device_(device) { Mark(nullptr); }
  // What was started since the last mark is added to *seconds by Finish.
  void Mark(double* seconds) {
    marks_.push_back({Clock::Real()->Monotonic(), nullptr, seconds});
    if (device_.is_cpu()) return;
    marks_.back().event =
        std::make_unique<c10::Event>(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
    marks_.back().event->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }
  void Finish() {
    if (!device_.is_cpu()) marks_.back().event->synchronize();
    for (size_t i = 1; i < marks_.size(); ++i) {
      if (marks_[i].seconds == nullptr) continue;
      *marks_[i].seconds += device_.is_cpu()
                                ? absl::ToDoubleSeconds(marks_[i].at - marks_[i - 1].at)
                                : marks_[i - 1].event->elapsedTime(*marks_[i].event) / 1e3;
    }
  }

 private:
  struct MarkedTime {
    absl::Duration at;
    std::unique_ptr<c10::Event> event;
    double* seconds;
  };
  const at::Device device_;
  std::vector<MarkedTime> marks_;
};

class DeviceTrainer final : public Trainer {
 public:
  DeviceTrainer(const Options& options, const TrainingDevice& device)
      : options_(options),
        spec_(options.spec),
        device_(device),
        place_(device.ordinal < 0 ? at::Device(at::kCPU)
                                  : at::Device(at::kCUDA, static_cast<int8_t>(device.ordinal))),
        table_(ParameterStore::TableOnly(spec_.model)),
        owners_(AssignShares(table_.slots(),
                             spec_.shard_optimizer ? options.collective->world_size() : 1)),
        state_rank_(spec_.shard_optimizer ? options.collective->rank() : 0),
        weight_(Floats()),
        gradient_(Floats()),
        optimizer_(spec_, table_.slots(), owners_, state_rank_, device.kernels, place_),
        network_(spec_.model, NetworkOn(weight_, gradient_, spec_.z_loss)),
        reducer_(table_.slots(), gradient_.mutable_data_ptr<float>(), StepGroup(),
                 {options.mixed_devices ? kMixedBucketFloats : kBucketFloats,
                  /*in_order=*/options.mixed_devices},
                 device.ordinal) {
    if (IsOuter(spec_)) outer_.emplace(spec_, table_.slots());
    network_.set_ready([this](const ParameterSlot& slot) { ReduceWhenReady(slot); });
  }

  absl::Status InitialiseFresh() override {
    return CatchFailures("making fresh weights", kHostMemory, [&]() -> absl::Status {
      HostState host = NewHostState();
      InitialiseParameters(spec_.seed, spec_.model, &host.parameters);
      host.optimizer.Reset(host.parameters);
      Upload(&host);
      if (outer_.has_value()) outer_->Begin(host.parameters.weight());
      step_ = 0;
      whole_ = true;
      return absl::OkStatus();
    });
  }

  absl::Status Load(const CheckpointReader& checkpoint) override {
    whole_ = false;
    return CatchFailures("reading the checkpoint", kHostMemory, [&]() -> absl::Status {
      HostState host = NewHostState();
      RETURN_IF_ERROR(
          ReadState(checkpoint, options_.collective->rank(), &host.parameters, &host.optimizer));
      Upload(&host);
      if (outer_.has_value()) outer_->Begin(host.parameters.weight());
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
    return CatchFailures("sharing the state", kHostMemory, [&]() -> absl::Status {
      HostState host = NewHostState();
      if (options_.collective->rank() == root) Download(&host);
      RETURN_IF_ERROR(BroadcastState(root, take, options_.collective, &step_, &host.parameters,
                                     &host.optimizer));
      if (!take) return absl::OkStatus();
      Upload(&host);
      whole_ = true;
      return absl::OkStatus();
    });
  }

  absl::StatusOr<StepStats> Step(const Batch& batch, double weight_sum, int64_t micro_batch,
                                 double learning_rate) override {
    RETURN_IF_ERROR(CheckBatch(spec_, batch, weight_sum, micro_batch));
    return CatchFailures(
        absl::StrCat("step ", step_, " with micro-batches of ", micro_batch, " sequences"),
        "set training.micro_batch lower",
        [&] { return RunStep(batch, weight_sum, micro_batch, learning_rate); });
  }
  int64_t step() const override { return step_; }

  absl::StatusOr<EvaluationResult> Evaluate(
      const std::function<bool(std::vector<int64_t>* window)>& next, bool averaged) override {
    return CatchFailures("evaluation", kDeviceMemory,
                         [&] { return RunEvaluation(next, averaged); });
  }

  absl::StatusOr<std::vector<float>> Logits(absl::Span<const int64_t> tokens,
                                            bool averaged) override {
    for (int64_t token : tokens) {
      if (token < 0 || token >= spec_.model.vocab) {
        return absl::InvalidArgumentError(
            absl::StrCat("token ", token, " is outside the vocabulary of ", spec_.model.vocab));
      }
    }
    return CatchFailures(
        "the forward pass", kDeviceMemory, [&]() -> absl::StatusOr<std::vector<float>> {
          const c10::NoGradGuard no_grad;
          const c10::DeviceGuard guard(place_);
          ASSIGN_OR_RETURN(const at::Tensor weights, Weights(averaged));
          FusedNetwork network(spec_.model, NetworkOn(weights, {}, 0));
          const FormulaBatch batch = BatchOf(Tokens(tokens).unsqueeze(0));
          const at::Tensor logits =
              network.Head(network.Hidden(network.Embed(batch.tokens), batch)).cpu();
          const float* values = logits.data_ptr<float>();
          return std::vector<float>(values, values + logits.numel());
        });
  }

  absl::StatusOr<std::unique_ptr<TrainerSnapshot>> Snapshot() override {
    if (outer_.has_value()) RETURN_IF_ERROR(outer_->CheckBetweenRounds(step_));
    return CatchFailures("copying the state for a checkpoint", kHostMemory,
                         [&]() -> absl::StatusOr<std::unique_ptr<TrainerSnapshot>> {
                           HostState host = NewHostState();
                           Download(&host);
                           ParallelRows one(1);
                           return CopyState(host.parameters, host.optimizer, step_,
                                            options_.collective->rank(),
                                            options_.collective->world_size(), &copies_, &one);
                         });
  }

  absl::StatusOr<std::string> StateHash() override {
    HostState host = NewHostState();
    Download(&host);
    return HashState(host.parameters, host.optimizer, owners_, options_.collective);
  }

  std::string description() const override {
    return absl::StrCat(place_.str(), ", ", device_.name, ", ", device_.bf16 ? "bf16" : "fp32",
                        spec_.precision == "auto" ? " (auto), " : ", ", device_.kernels->name(),
                        spec_.deterministic ? ", deterministic" : "");
  }

 private:
  static constexpr char kHostMemory[] = "the host needs 20 bytes a parameter for a moment";
  static constexpr char kDeviceMemory[] = "make the model smaller, or train on a larger device";

  // With whom a step is taken; the ranks of sync outer take theirs alone.
  Collective* StepGroup() { return IsOuter(spec_) ? alone_.get() : options_.collective; }
  at::Tensor Floats() const {
    const ParameterSlot& last = table_.slots().back();
    return at::zeros({last.offset + last.size}, at::device(place_).dtype(at::kFloat));
  }
  FormulaBatch BatchOf(const at::Tensor& tokens) const { return {tokens, 0, spec_.model.prefix}; }
  FusedNetwork::Options NetworkOn(const at::Tensor& weight, const at::Tensor& gradient,
                                  double z_loss) const {
    FusedNetwork::Options options;
    options.kernels = device_.kernels;
    options.slots = &table_.slots();
    options.weight = weight;
    options.gradient = gradient;
    options.type = device_.bf16 ? at::kBFloat16 : at::kFloat;
    options.z_loss = z_loss;
    options.recompute_layers = spec_.activation_checkpointing;
    return options;
  }
  at::Tensor Tokens(absl::Span<const int64_t> tokens) const {
    return at::tensor(at::ArrayRef<int64_t>(tokens.data(), tokens.size())).to(place_);
  }

  // Of sequences of length + 1 tokens, [B, length] each on the device; -1 where the attention mode
  // predicts nothing, of which there are *dropped.
  std::pair<at::Tensor, at::Tensor> InputsAndTargets(const std::vector<int64_t>& tokens,
                                                     int64_t length,
                                                     int64_t* dropped = nullptr) const {
    const at::Tensor all = at::tensor(at::ArrayRef<int64_t>(tokens)).view({-1, length + 1});
    const at::Tensor inputs = all.narrow(1, 0, length).contiguous(),
                     targets = all.narrow(1, 1, length).clone(at::MemoryFormat::Contiguous);
    const int64_t count =
        DropTargets(spec_.model, absl::MakeConstSpan(inputs.data_ptr<int64_t>(), inputs.numel()),
                    length, absl::MakeSpan(targets.mutable_data_ptr<int64_t>(), targets.numel()));
    if (dropped != nullptr) *dropped = count;
    return {inputs.to(place_), targets.to(place_)};
  }

  // The state as it is read and written.
  struct HostState {
    ParameterStore parameters;
    OptimizerState optimizer;
  };
  HostState NewHostState() const {
    ParameterStore parameters(spec_.model);
    OptimizerState optimizer(spec_, parameters, owners_, state_rank_);
    return {std::move(parameters), std::move(optimizer)};
  }
  void Upload(HostState* state) {
    weight_.copy_(at::from_blob(state->parameters.MutableWeights(), weight_.sizes()));
    optimizer_.Upload(state->optimizer);
    network_.MarkChanged();
    averages_gathered_ = false;
  }
  void Download(HostState* state) {
    at::from_blob(state->parameters.MutableWeights(), weight_.sizes()).copy_(weight_);
    optimizer_.Download(&state->optimizer);
  }
  // Weights and gradients as a search for a bad one reads them.
  ParameterStore OnHost() const {
    ParameterStore store(spec_.model);
    at::from_blob(store.MutableWeights(), weight_.sizes()).copy_(weight_);
    at::from_blob(store.gradient(), gradient_.sizes()).copy_(gradient_);
    return store;
  }
  // Forward again, looking at every weight and layer.
  std::string FirstBadTensor(const FormulaBatch& batch) {
    const c10::NoGradGuard no_grad;
    const ParameterStore store = OnHost();
    NonFiniteSearch search(store);
    const auto look = [&](const std::string& name, const at::Tensor& x) {
      const at::Tensor values = x.to(at::kCPU, at::kFloat).contiguous();
      search.Output(name, values.data_ptr<float>(), values.numel());
    };
    const at::Tensor embedded = network_.Embed(batch.tokens);
    look("embed", embedded);
    network_.Hidden(embedded, batch, look);
    const std::string found = search.Finish();
    return found.empty() ? "the logits" : found;
  }
  // Sums over the ranks; each has 0 where another one has values.
  absl::Status Gather(const at::Tensor& flat) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Collective::Work> work,
                     options_.collective->AllReduceSum(flat.mutable_data_ptr<float>(), flat.numel(),
                                                       device_.ordinal));
    return work->Wait();
  }
  // The same as the CPU trainer does it, through the host: bytes of each owner.
  absl::Status ExchangeOwned(const at::Tensor& flat) {
    const auto here = [&](size_t slot, int64_t first, int64_t count) {
      return flat.narrow(0, table_.slots()[slot].offset + first, count);
    };
    const auto host = [](float* packed, int64_t count) { return at::from_blob(packed, {count}); };
    return tritter::ExchangeOwned(
        table_.slots(), owners_, options_.collective,
        [&](size_t slot, int64_t first, int64_t count, float* packed) {
          host(packed, count).copy_(here(slot, first, count));
        },
        [&](size_t slot, int64_t first, int64_t count, float* packed) {
          here(slot, first, count).copy_(host(packed, count));
        });
  }
  // Of the weights every rank has the part that it has updated.
  absl::Status GatherWeights() {
    if (options_.mixed_devices) return ExchangeOwned(weight_);
    optimizer_.KeepOnlyKept(weight_, gradient_);
    RETURN_IF_ERROR(Gather(gradient_));
    weight_.copy_(gradient_);
    return absl::OkStatus();
  }
  // The weights to compute with; those of a sharded average gathered in the array of the gradients,
  // which are not needed between steps.
  absl::StatusOr<at::Tensor> Weights(bool averaged) {
    if (!averaged) return weight_;
    if (optimizer_.keeps_all()) return optimizer_.average();
    if (!averages_gathered_) {
      optimizer_.CopyKeptAverages(gradient_);
      RETURN_IF_ERROR(options_.mixed_devices ? ExchangeOwned(gradient_) : Gather(gradient_));
      averages_gathered_ = true;
    }
    return gradient_;
  }

  void ReduceWhenReady(const ParameterSlot& slot) {
    reducer_.Ready(slot.offset, slot.size);
    told_[slot.offset] = true;
  }
  // Of sync outer: the round ends with the step that was taken. The host moves the weights.
  absl::StatusOr<OuterSync::Ended> EndRound();
  absl::Status ReduceRest();
  absl::StatusOr<StepStats> RunStep(const Batch& batch, double weight_sum, int64_t micro_batch,
                                    double learning_rate);
  absl::StatusOr<EvaluationResult> RunEvaluation(
      const std::function<bool(std::vector<int64_t>* window)>& next, bool averaged);
  // Forward and backward; adds its Σ w ℓ.
  absl::Status RunMicroBatch(const FormulaBatch& batch, const at::Tensor& targets,
                             const at::Tensor& weights, double scale, PhaseClock* clock,
                             StepStats* stats);

  Options options_;  // the collective changes
  const RunSpec spec_;
  const TrainingDevice device_;
  const at::Device place_;
  const ParameterStore table_;
  const std::vector<int> owners_;  // by slot: the rank that keeps the optimiser's state
  const int state_rank_;           // this one among them
  // Flat, in the order of the table.
  const at::Tensor weight_, gradient_;
  DeviceOptimizer optimizer_;
  FusedNetwork network_;
  const std::unique_ptr<Collective> alone_ = SingleProcessCollective();
  GradientReducer reducer_;
  std::optional<OuterSync> outer_;
  std::map<int64_t, bool> told_;    // offsets whose gradient the reducer has
  bool averages_gathered_ = false;  // gradient_ has the averaged weights
  CopyPool copies_;
  int64_t step_ = 0;
  bool whole_ = false;  // nothing was left in the middle
};

absl::StatusOr<OuterSync::Ended> DeviceTrainer::EndRound() {
  const auto copy = [](const at::Tensor& x) { return at::empty(x.sizes(), at::kFloat).copy_(x); };
  const at::Tensor weights = copy(weight_), average = copy(optimizer_.average());
  ASSIGN_OR_RETURN(
      OuterSync::Ended ended,
      outer_->EndRound(step_, WishesToYield(), options_.collective,
                       {weights.mutable_data_ptr<float>(), average.mutable_data_ptr<float>(),
                        optimizer_.residual(), optimizer_.outer_momentum()}));
  weight_.copy_(weights);
  optimizer_.average().copy_(average);
  network_.MarkChanged();
  return ended;
}

// What no matrix is: embedding, norms, biases, scales.
absl::Status DeviceTrainer::ReduceRest() {
  for (auto slot = table_.slots().rbegin(); slot != table_.slots().rend(); ++slot) {
    if (!told_[slot->offset]) reducer_.Ready(slot->offset, slot->size);
  }
  return reducer_.Finish();
}

absl::Status DeviceTrainer::RunMicroBatch(const FormulaBatch& batch, const at::Tensor& targets,
                                          const at::Tensor& weights, double scale,
                                          PhaseClock* clock, StepStats* stats) {
  const at::Tensor hidden = network_.Hidden(network_.Embed(batch.tokens), batch);
  const FusedNetwork::LossResult result =
      network_.Loss(hidden, targets.view({-1}), weights.view({-1}), scale);
  const double loss = result.loss.item<double>();
  stats->loss += loss;
  clock->Mark(&stats->forward_seconds);
  if (!std::isfinite(loss)) {
    return NonFiniteError(absl::StrCat("the loss of step ", step_, " is ", loss),
                          FirstBadTensor(batch));
  }
  hidden.backward(result.hidden_gradient);
  clock->Mark(&stats->backward_seconds);
  return absl::OkStatus();
}

absl::StatusOr<StepStats> DeviceTrainer::RunStep(const Batch& batch, double global_weight,
                                                 int64_t micro_batch, double learning_rate) {
  const c10::DeviceGuard guard(place_);
  const int64_t length = spec_.sequence_length, sequences = batch.sequences;
  StepStats stats;
  ASSIGN_OR_RETURN(const double weight_sum,
                   PredictedWeight(spec_, batch, global_weight, options_.collective));
  PhaseClock clock(place_);
  whole_ = false;  // who fails in a pass is not used again
  gradient_.zero_();
  averages_gathered_ = false;
  told_.clear();
  reducer_.BeginStep();
  const auto [inputs, targets] = InputsAndTargets(batch.tokens, length);
  const at::Tensor weights =
      at::tensor(at::ArrayRef<float>(batch.weights)).to(place_).view({sequences, length});
  for (int64_t first = 0; first < sequences; first += micro_batch) {
    const int64_t count = std::min(micro_batch, sequences - first);
    network_.BeginMicroBatch(first == 0, first + count == sequences);
    RETURN_IF_ERROR(RunMicroBatch(BatchOf(inputs.narrow(0, first, count)),
                                  targets.narrow(0, first, count), weights.narrow(0, first, count),
                                  PerWeight(weight_sum), &clock, &stats));
  }
  whole_ = true;  // gradients are not part of the state
  RETURN_IF_ERROR(ReduceRest());
  clock.Mark(&stats.reduce_seconds);
  stats.grad_norm = at::linalg_vector_norm(gradient_, 2, {}, false, at::kDouble).item<double>();
  clock.Mark(&stats.optimizer_seconds);
  if (!outer_.has_value())
    RETURN_IF_ERROR(ExchangeLoss(WishesToYield(), options_.collective, &stats));
  const double loss_sum = stats.loss;
  stats.loss = MeanLoss(loss_sum, weight_sum);
  clock.Mark(&stats.reduce_seconds);
  if (!std::isfinite(stats.grad_norm)) {
    return NonFiniteError(
        absl::StrCat("the gradient of step ", step_, " is not finite (loss ", stats.loss, ")"),
        FirstNonFiniteGradient(OnHost()));
  }
  whole_ = false;
  ++step_;
  optimizer_.Update(step_, learning_rate, stats.grad_norm, gradient_, weight_);
  if (!optimizer_.keeps_all()) {
    RETURN_IF_ERROR(GatherWeights());
  }
  network_.MarkChanged();
  clock.Mark(&stats.optimizer_seconds);
  if (outer_.has_value()) {
    RETURN_IF_ERROR(
        outer_->Settle(step_, loss_sum, weight_sum, [this] { return EndRound(); }, &stats));
    clock.Mark(&stats.reduce_seconds);
  }
  clock.Finish();
  whole_ = true;
  return stats;
}

absl::StatusOr<EvaluationResult> DeviceTrainer::RunEvaluation(
    const std::function<bool(std::vector<int64_t>* window)>& next, bool averaged) {
  const c10::NoGradGuard no_grad;
  const c10::DeviceGuard guard(place_);
  ASSIGN_OR_RETURN(const at::Tensor parameters, Weights(averaged));
  FusedNetwork network(spec_.model, NetworkOn(parameters, {}, 0));
  at::Tensor nats = at::zeros({}, at::device(place_).dtype(at::kDouble));
  EvaluationResult result;
  // Windows of equal length make a batch.
  std::vector<int64_t> tokens, window;
  int64_t width = 0;
  const auto flush = [&] {
    if (tokens.empty()) return;
    int64_t dropped = 0;
    const auto [inputs, targets] = InputsAndTargets(tokens, width - 1, &dropped);
    const FormulaBatch batch = BatchOf(inputs);
    const at::Tensor hidden = network.Hidden(network.Embed(inputs), batch),
                     ones = at::ones({targets.numel()}, nats.options().dtype(at::kFloat));
    nats += network.Loss(hidden, targets.view({-1}), ones, 0.0).loss;
    result.tokens += targets.numel() - dropped;
    result.not_predicted += dropped;
    tokens.clear();
  };
  while (next(&window)) {
    const int64_t used = std::find(window.begin(), window.end(), -1) - window.begin();
    if (used < 2) continue;
    if (used != width || static_cast<int64_t>(tokens.size()) + used > kEvaluationTokens) flush();
    width = used;
    tokens.insert(tokens.end(), window.begin(), window.begin() + used);
  }
  flush();
  double sums[3] = {nats.item<double>(), static_cast<double>(result.tokens),
                    static_cast<double>(result.not_predicted)};
  RETURN_IF_ERROR(options_.collective->AllReduceSum(sums, 3));
  return EvaluationResult{sums[0], std::llround(sums[1]), std::llround(sums[2])};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> CreateDeviceTrainer(const Trainer::Options& options,
                                                             const TrainingDevice& device) {
  RETURN_IF_ERROR(CheckTrainerOptions(options));
  if (const std::optional<std::string> why = NotOnCuda(options.spec); why.has_value())
    return absl::UnimplementedError(absl::StrCat("GPUs do not train this run: ", *why));
  if (device.ordinal >= 0) {
    if (options.spec.deterministic) {
      // Read by cuBLAS when it starts; LibTorch insists on it.
      setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    }
    at::globalContext().setDeterministicAlgorithms(options.spec.deterministic,
                                                   /*warn_only=*/false);
  }
  return CatchFailures(
      absl::StrCat("placing ", ParameterCount(options.spec.model), " parameters on ", device.name),
      "the training state takes 23 bytes each", [&]() -> absl::StatusOr<std::unique_ptr<Trainer>> {
        return std::unique_ptr<Trainer>(std::make_unique<DeviceTrainer>(options, device));
      });
}

}  // namespace tritter
