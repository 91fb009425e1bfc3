// plan: what of a model fits a device, and what it would cost. Arithmetic (model/plan.h), no
// measurement.
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "model/plan.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"

namespace tritter {
namespace {

struct PlanArguments {
  std::string preset, device, kv = "int4";
  int64_t vocab = 0, sequence_length = 0;
  bool moments_8bit = false, recompute = false;
};

absl::StatusOr<DisplaySystem> ParseSystem(absl::string_view text) {
  if (text == "windows") return DisplaySystem::kWindows;
  if (text == "macos") return DisplaySystem::kMacOs;
  if (text == "wayland") return DisplaySystem::kWayland;
  if (text == "x11") return DisplaySystem::kX11;
  if (text == "headless") return DisplaySystem::kHeadless;
  if (text == "unknown") return DisplaySystem::kUnknown;
  return absl::InvalidArgumentError(
      absl::StrCat("--device: after the comma: expected windows, macos, wayland, x11, headless or "
                   "unknown, actual '",
                   text, "'"));
}

// "RTX 4090", "16GB", either with ",wayland" and the like behind it. A device known by its memory
// alone has no speeds.
absl::StatusOr<DeviceSpec> ParseDevice(const std::string& text, DisplaySystem* system) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(',', 1));
  if (parts.size() == 2) {
    ASSIGN_OR_RETURN(*system, ParseSystem(parts[1]));
  }
  double gigabytes = 0;
  if (absl::EndsWithIgnoreCase(parts[0], "GB") &&
      absl::SimpleAtod(parts[0].substr(0, parts[0].size() - 2), &gigabytes)) {
    if (!(gigabytes > 0 && gigabytes < 1e6))
      return absl::InvalidArgumentError(
          absl::StrCat("--device: memory: expected above 0, actual ", parts[0]));
    DeviceSpec device;
    device.name = parts[0];
    device.memory_bytes = std::llround(gigabytes * static_cast<double>(kGigabyte));
    return device;
  }
  absl::StatusOr<DeviceSpec> device = FindDevice(parts[0]);
  if (!device.ok())
    return absl::InvalidArgumentError(
        absl::StrCat("--device: ", device.status().message(), "; or give its memory, as in 16GB"));
  return device;
}

// Null where the device's speed is not known.
OrderedJson Known(double value, bool known) {
  return known && std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

OrderedJson TrainingJson(const TrainingPlan& p, bool speeds) {
  return {{"fits", p.fits},
          {"reason", p.reason},
          {"trainable_parameters", p.trainable_parameters},
          {"base_bytes", p.base_bytes},
          {"memory",
           {{"weights", p.memory.weights},
            {"gradients", p.memory.gradients},
            {"moments", p.memory.moments},
            {"averages", p.memory.averages},
            {"codes", p.memory.codes},
            {"activations", p.memory.activations},
            {"logits", p.memory.logits},
            {"total", p.memory.total()}}},
          {"micro_batch", p.micro_batch},
          {"sequence_length", p.sequence_length},
          {"recompute_activations", p.activations == ActivationPolicy::kKeepLayerInputs},
          {"tokens", p.tokens},
          {"tokens_per_second", Known(p.tokens_per_second, speeds)},
          {"hours", Known(p.hours, speeds)}};
}

OrderedJson InferenceJson(const InferencePlan& p, bool speeds) {
  return {{"fits", p.fits},
          {"reason", p.reason},
          {"weight_bytes", p.weight_bytes},
          {"activation_bytes", p.activation_bytes},
          {"kv_bytes_per_position", p.kv_bytes_per_position},
          {"context", p.context},
          {"seconds_per_token", Known(p.seconds_per_token, speeds)},
          {"seconds_per_token_at_context", Known(p.seconds_per_token_at_context, speeds)}};
}

std::vector<std::string> TrainingRow(const char* name, const TrainingPlan& p, bool speeds) {
  const double total = static_cast<double>(p.memory.total() + p.base_bytes);
  return {name, p.fits ? "yes" : "no", FormatBytes(total),
          p.fits ? absl::StrFormat("micro-batch %d x %d", p.micro_batch, p.sequence_length) : "-",
          speeds && p.fits
              ? absl::StrFormat("%s tokens/s, %s for %s tokens", FormatCount(p.tokens_per_second),
                                FormatSeconds(p.hours * 3600),
                                FormatCount(static_cast<double>(p.tokens)))
              : "-"};
}

std::vector<std::string> InferenceRow(const char* name, const InferencePlan& p, bool speeds) {
  const double total = static_cast<double>(p.weight_bytes + p.activation_bytes +
                                           p.kv_bytes_per_position * p.context);
  return {name, p.fits ? "yes" : "no", FormatBytes(total),
          p.fits ? absl::StrFormat("context %d", p.context) : "-",
          speeds && p.fits
              ? absl::StrFormat("%.3g ms per token, %.3g at full context",
                                1e3 * p.seconds_per_token, 1e3 * p.seconds_per_token_at_context)
              : "-"};
}

std::string PlanText(const PlanArguments& a, const ModelConfig& config, const DevicePlan& plan,
                     bool speeds) {
  std::string out =
      absl::StrFormat("%s: %s parameters, on %s: %s of it are safe to use\n\n", a.preset,
                      FormatCount(static_cast<double>(ParameterCount(config))), a.device,
                      FormatBytes(static_cast<double>(plan.budget_bytes)));
  absl::StrAppend(&out, FormatTable({"WHAT", "FITS", "MEMORY", "AT MOST", "COST"},
                                    {TrainingRow("full training", plan.full, speeds),
                                     TrainingRow("LoRA training", plan.lora, speeds),
                                     InferenceRow("inference, resident", plan.resident, speeds),
                                     InferenceRow("inference, streamed", plan.streamed, speeds)}));
  out += "\n";
  const std::pair<const char*, const std::string*> reasons[] = {
      {"full training", &plan.full.reason},
      {"LoRA training", &plan.lora.reason},
      {"inference, resident", &plan.resident.reason},
      {"inference, streamed", &plan.streamed.reason}};
  for (const auto& [what, reason] : reasons) absl::StrAppend(&out, what, ": ", *reason, "\n");
  absl::StrAppend(
      &out,
      "What would fit; this version trains in FP32 on cpu and serves resident models with an "
      "f32 cache.\n");
  absl::StrAppend(&out, speeds ? "Computed from the makers' figures, not measured.\n"
                               : "No times: of this device only the memory is known.\n");
  return out;
}

int Plan(const CommandContext& context, const PlanArguments& a) {
  absl::StatusOr<ModelConfig> config = PresetConfig(a.preset);
  if (!config.ok())
    return FailLocal(
        absl::InvalidArgumentError(absl::StrCat("--preset: ", config.status().message())));
  if (a.vocab > 0) config->vocab = a.vocab;
  if (const absl::Status valid = ValidateConfig(*config); !valid.ok()) return FailLocal(valid);
  DevicePlanOptions options;
  const absl::StatusOr<DeviceSpec> device = ParseDevice(a.device, &options.system);
  if (!device.ok()) return FailLocal(device.status());
  options.sequence_length = a.sequence_length;
  options.training.moments_8bit = a.moments_8bit;
  if (a.recompute) options.training.activations = ActivationPolicy::kKeepLayerInputs;
  options.kv = a.kv == "f32" ? KvType::kF32 : a.kv == "bf16" ? KvType::kBF16 : KvType::kInt4;
  const DevicePlan plan = MakeDevicePlan(*config, *device, options);
  const bool speeds = device->bandwidth > 0;
  const OrderedJson json = {{"preset", a.preset},
                            {"device", device->name},
                            {"parameters", ParameterCount(*config)},
                            {"budget_bytes", plan.budget_bytes},
                            {"full_training", TrainingJson(plan.full, speeds)},
                            {"lora_training", TrainingJson(plan.lora, speeds)},
                            {"resident_inference", InferenceJson(plan.resident, speeds)},
                            {"streamed_inference", InferenceJson(plan.streamed, speeds)}};
  return PrintAnswer(
      context, json, [&] { return PlanText(a, *config, plan, speeds); },
      [&] {
        std::string fitting;
        for (const char* key :
             {"full_training", "lora_training", "resident_inference", "streamed_inference"}) {
          if (json[key]["fits"].get<bool>()) absl::StrAppend(&fitting, key, "\n");
        }
        return fitting;
      });
}

}  // namespace

void AddPlanCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<PlanArguments>();
  CommandLine* command = app->AddCommand(
      "plan", "what of a model fits a device: training, LoRA, inference, and what it costs");
  command->AddFlag("--preset", &a->preset, "model, for example nano, 1B, 7B").Required();
  command
      ->AddFlag("--device", &a->device,
                "a known device (RTX 4090, H100 …) or its memory (16GB); ,wayland behind it "
                "names what else draws on it")
      .Required();
  command->AddFlag("--vocab", &a->vocab, "vocabulary other than the preset's")
      .Positive()
      .HideDefault();
  command
      ->AddFlag("--sequence-length", &a->sequence_length,
                "of training; default: the context, at most 2048")
      .Positive()
      .HideDefault();
  command->AddFlag("--kv", &a->kv, "KV cache: int4, bf16 or f32").OneOf({"int4", "bf16", "f32"});
  command->AddFlag("--moments-8bit", &a->moments_8bit, "optimiser moments in 8 bits");
  command->AddFlag("--recompute", &a->recompute,
                   "keep only the layers' inputs for the backward pass");
  command->OnCall([=] { context->run = [=] { return Plan(*context, *a); }; });
}

}  // namespace tritter
