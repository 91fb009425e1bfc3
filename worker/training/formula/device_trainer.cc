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
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "worker/training/formula/fused_network.h"
#include "worker/training/gradient_reducer.h"
#include "worker/training/initialise.h"
#include "worker/training/non_finite.h"
#include "worker/training/optimizer.h"
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
        weight_(Floats()),
        gradient_(Floats()),
        m_(Floats()),
        v_(Floats()),
        average_(Floats()),
        network_(spec_.model, NetworkOn(weight_, gradient_, spec_.z_loss)),
        reducer_(table_.slots(), gradient_.mutable_data_ptr<float>(), options.collective,
                 kBucketFloats, device.ordinal) {
    network_.set_ready([this](const ParameterSlot& slot) { ReduceWhenReady(slot); });
  }

  absl::Status InitialiseFresh() override {
    return CatchFailures("making fresh weights", kHostMemory, [&]() -> absl::Status {
      HostState host(spec_);
      InitialiseParameters(spec_.seed, spec_.model, &host.parameters);
      host.optimizer.Reset(host.parameters);
      Upload(&host);
      step_ = 0;
      return absl::OkStatus();
    });
  }

  absl::Status Load(const CheckpointReader& checkpoint) override {
    return CatchFailures("reading the checkpoint", kHostMemory, [&]() -> absl::Status {
      HostState host(spec_);
      RETURN_IF_ERROR(ReadState(checkpoint, &host.parameters, &host.optimizer));
      Upload(&host);
      step_ = checkpoint.manifest().step;
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
          FusedNetwork network(spec_.model, NetworkOn(averaged ? average_ : weight_, {}, 0));
          const at::Tensor on_device = Tokens(tokens).unsqueeze(0);
          const at::Tensor logits =
              network.Head(network.Hidden(network.Embed(on_device), {on_device})).cpu();
          const float* values = logits.data_ptr<float>();
          return std::vector<float>(values, values + logits.numel());
        });
  }

  absl::StatusOr<std::unique_ptr<TrainerSnapshot>> Snapshot() override {
    return CatchFailures("copying the state for a checkpoint", kHostMemory,
                         [&]() -> absl::StatusOr<std::unique_ptr<TrainerSnapshot>> {
                           HostState host(spec_);
                           Download(&host);
                           ParallelRows one(1);
                           return CopyState(&host.parameters, host.optimizer, step_,
                                            options_.collective->rank(),
                                            options_.collective->world_size(), &copies_, &one);
                         });
  }

  absl::StatusOr<std::string> StateHash() override {
    HostState host(spec_);
    Download(&host);
    return HashState(&host.parameters, host.optimizer, {}, options_.collective);
  }

  std::string description() const override {
    return absl::StrCat(place_.str(), ", ", device_.name, ", ", device_.bf16 ? "bf16" : "fp32",
                        ", ", device_.kernels->name(),
                        spec_.deterministic ? ", deterministic" : "");
  }

 private:
  static constexpr char kHostMemory[] = "the host needs 20 bytes a parameter for a moment";
  static constexpr char kDeviceMemory[] = "make the model smaller, or train on a larger device";

  at::Tensor Floats() const {
    const ParameterSlot& last = table_.slots().back();
    return at::zeros({last.offset + last.size}, at::device(place_).dtype(at::kFloat));
  }
  FusedNetwork::Options NetworkOn(const at::Tensor& weight, const at::Tensor& gradient,
                                  double z_loss) const {
    FusedNetwork::Options options;
    options.kernels = device_.kernels;
    options.slots = &table_.slots();
    options.weight = weight;
    options.gradient = gradient;
    options.type = device_.bf16 ? at::kBFloat16 : at::kFloat;
    options.z_loss = z_loss;
    return options;
  }
  at::Tensor Tokens(absl::Span<const int64_t> tokens) const {
    return at::tensor(at::ArrayRef<int64_t>(tokens.data(), tokens.size())).to(place_);
  }

  // The state as it is read and written.
  struct HostState {
    explicit HostState(const RunSpec& spec) : parameters(spec.model), optimizer(spec, parameters) {}
    ParameterStore parameters;
    OptimizerState optimizer;
  };
  // Calls copy(the device's array, the host's) for everything but the gradient.
  template <typename Copy>
  void ForEachArray(HostState* state, const Copy& copy) {
    const std::pair<at::Tensor, float*> arrays[] = {{weight_, state->parameters.MutableWeights()},
                                                    {m_, state->optimizer.m()},
                                                    {v_, state->optimizer.v()},
                                                    {average_, state->optimizer.average()}};
    for (const auto& [device, host] : arrays)
      copy(device, at::from_blob(host, {state->parameters.size()}));
  }
  void Upload(HostState* state) {
    ForEachArray(state, [](at::Tensor device, const at::Tensor& host) { device.copy_(host); });
    network_.MarkChanged();
  }
  void Download(HostState* state) {
    ForEachArray(state, [](const at::Tensor& device, at::Tensor host) { host.copy_(device); });
  }
  std::string FirstBadTensor() {
    ParameterStore store(spec_.model);
    at::from_blob(store.MutableWeights(), {store.size()}).copy_(weight_);
    at::from_blob(store.gradient(), {store.size()}).copy_(gradient_);
    std::string found = NonFiniteSearch(store).Finish();
    if (found.empty()) found = FirstNonFiniteGradient(store);
    return found.empty() ? "none of the weights (activations)" : found;
  }

  void ReduceWhenReady(const ParameterSlot& slot) {
    reducer_.Ready(slot.offset, slot.size);
    told_[slot.offset] = true;
  }
  absl::Status ReduceRest();
  absl::StatusOr<StepStats> RunStep(const Batch& batch, double weight_sum, int64_t micro_batch,
                                    double learning_rate);
  absl::StatusOr<EvaluationResult> RunEvaluation(
      const std::function<bool(std::vector<int64_t>* window)>& next, bool averaged);
  void Optimise(double learning_rate, double gradient_norm);

  const Options options_;
  const RunSpec spec_;
  const TrainingDevice device_;
  const at::Device place_;
  const ParameterStore table_;
  // Flat, in the order of the table.
  const at::Tensor weight_, gradient_, m_, v_, average_;
  FusedNetwork network_;
  GradientReducer reducer_;
  std::map<int64_t, bool> told_;  // offsets whose gradient the reducer has
  CopyPool copies_;
  int64_t step_ = 0;
};

// What no matrix is: embedding, norms, biases, scales.
absl::Status DeviceTrainer::ReduceRest() {
  for (auto slot = table_.slots().rbegin(); slot != table_.slots().rend(); ++slot) {
    if (!told_[slot->offset]) reducer_.Ready(slot->offset, slot->size);
  }
  return reducer_.Finish();
}

absl::StatusOr<StepStats> DeviceTrainer::RunStep(const Batch& batch, double weight_sum,
                                                 int64_t micro_batch, double learning_rate) {
  const c10::DeviceGuard guard(place_);
  const int64_t length = spec_.sequence_length, sequences = batch.sequences;
  StepStats stats;
  PhaseClock clock(place_);
  gradient_.zero_();
  told_.clear();
  reducer_.BeginStep();
  const at::Tensor tokens = Tokens(batch.tokens).view({sequences, length + 1});
  const at::Tensor inputs = tokens.narrow(1, 0, length).contiguous(),
                   targets = tokens.narrow(1, 1, length).contiguous();
  const at::Tensor weights =
      at::tensor(at::ArrayRef<float>(batch.weights)).to(place_).view({sequences, length});
  at::Tensor loss = at::zeros({}, at::device(place_).dtype(at::kDouble));
  for (int64_t first = 0; first < sequences; first += micro_batch) {
    const int64_t count = std::min(micro_batch, sequences - first);
    network_.BeginMicroBatch(first == 0, first + count == sequences);
    const FormulaBatch part = {inputs.narrow(0, first, count)};
    const at::Tensor hidden = network_.Hidden(network_.Embed(part.tokens), part);
    const FusedNetwork::LossResult result =
        network_.Loss(hidden, targets.narrow(0, first, count).view({-1}),
                      weights.narrow(0, first, count).view({-1}), 1.0 / weight_sum);
    loss += result.loss;
    clock.Mark(&stats.forward_seconds);
    hidden.backward(result.hidden_gradient);
    clock.Mark(&stats.backward_seconds);
  }
  RETURN_IF_ERROR(ReduceRest());
  stats.loss = loss.item<double>();
  RETURN_IF_ERROR(options_.collective->AllReduceSum(&stats.loss, 1));
  stats.loss /= weight_sum;
  clock.Mark(&stats.reduce_seconds);
  stats.grad_norm = at::linalg_vector_norm(gradient_, 2, {}, false, at::kDouble).item<double>();
  if (!std::isfinite(stats.loss) || !std::isfinite(stats.grad_norm)) {
    return NonFiniteError(absl::StrCat("step ", step_, " has loss ", stats.loss,
                                       " and gradient norm ", stats.grad_norm),
                          FirstBadTensor());
  }
  ++step_;
  Optimise(learning_rate, stats.grad_norm);
  clock.Mark(&stats.optimizer_seconds);
  clock.Finish();
  return stats;
}

void DeviceTrainer::Optimise(double learning_rate, double gradient_norm) {
  const c10::NoGradGuard no_grad;
  AdamWStep update = AdamWStepOf(spec_, step_, gradient_norm);
  const std::vector<ParameterSlot>& slots = table_.slots();
  // Neighbours that are trained alike are one launch.
  update.learning_rate = static_cast<float>(learning_rate);
  for (size_t first = 0, end; first < slots.size(); first = end) {
    const double decay = GroupOf(spec_, slots[first].spec).weight_decay;
    int64_t size = 0;
    for (end = first; end < slots.size() && GroupOf(spec_, slots[end].spec).weight_decay == decay;
         ++end) {
      size += slots[end].size;
    }
    update.weight_decay = static_cast<float>(decay);
    const auto part = [&](const at::Tensor& all) {
      return all.narrow(0, slots[first].offset, size);
    };
    device_.kernels->AdamW(update, part(gradient_), part(weight_), part(m_), part(v_),
                           part(average_));
  }
  network_.MarkChanged();
}

absl::StatusOr<EvaluationResult> DeviceTrainer::RunEvaluation(
    const std::function<bool(std::vector<int64_t>* window)>& next, bool averaged) {
  const c10::NoGradGuard no_grad;
  const c10::DeviceGuard guard(place_);
  FusedNetwork network(spec_.model, NetworkOn(averaged ? average_ : weight_, {}, 0));
  at::Tensor nats = at::zeros({}, at::device(place_).dtype(at::kDouble));
  EvaluationResult result;
  // Windows of equal length make a batch.
  std::vector<int64_t> tokens, window;
  int64_t width = 0;
  const auto flush = [&] {
    if (tokens.empty()) return;
    const at::Tensor batch = Tokens(tokens).view({-1, width});
    const at::Tensor inputs = batch.narrow(1, 0, width - 1).contiguous(),
                     targets = batch.narrow(1, 1, width - 1).reshape({-1});
    const at::Tensor hidden = network.Hidden(network.Embed(inputs), {inputs});
    nats +=
        network
            .Loss(hidden, targets, at::ones(targets.sizes(), nats.options().dtype(at::kFloat)), 0.0)
            .loss;
    result.tokens += targets.numel();
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
  double sums[2] = {nats.item<double>(), static_cast<double>(result.tokens)};
  RETURN_IF_ERROR(options_.collective->AllReduceSum(sums, 2));
  return EvaluationResult{sums[0], static_cast<int64_t>(std::llround(sums[1]))};
}

absl::Status CheckDeviceSupports(const RunSpec& spec) {
  const auto refuse = [](absl::string_view key, absl::string_view instead) {
    return absl::UnimplementedError(
        absl::StrCat(key, " is trained on the CPU alone; use ", instead, ", or workers on cpu"));
  };
  if (spec.optimizer != "adamw")
    return refuse(absl::StrCat("training.optimizer ", spec.optimizer), "adamw");
  if (spec.activation_checkpointing != 0)
    return refuse(absl::StrCat("training.activation_checkpointing ", spec.activation_checkpointing),
                  "0");
  // Which targets these leave out is not told to the device.
  const AttentionMode mode = spec.model.attention;
  if (mode == AttentionMode::kPrefixLm || mode == AttentionMode::kDocument)
    return refuse(absl::StrCat("model.attention ", AttentionModeName(mode)), "another mode");
  if (spec.moments != "fp32")
    return refuse(absl::StrCat("training.moments ", spec.moments), "fp32");
  if (spec.shard_optimizer) return refuse("training.shard_optimizer true", "false");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> CreateDeviceTrainer(const Trainer::Options& options,
                                                             const TrainingDevice& device) {
  RETURN_IF_ERROR(CheckTrainerOptions(options));
  RETURN_IF_ERROR(CheckDeviceSupports(options.spec));
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
