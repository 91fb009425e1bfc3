// plan: what of a model fits a device, and what it would cost. Arithmetic (model/plan.h), no
// measurement.
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
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
  int64_t vocab = 0, sequence_length = 0, workers = 1;
};

// What stands beside the device: what draws on its memory, or that it is main memory.
bool ParseUse(absl::string_view text, DevicePlanOptions* options) {
  constexpr std::pair<absl::string_view, DisplaySystem> kSystems[] = {
      {"windows", DisplaySystem::kWindows},   {"macos", DisplaySystem::kMacOs},
      {"wayland", DisplaySystem::kWayland},   {"x11", DisplaySystem::kX11},
      {"headless", DisplaySystem::kHeadless}, {"unknown", DisplaySystem::kUnknown}};
  for (const auto& [name, system] : kSystems) {
    if (text != name) continue;
    options->system = system;
    return true;
  }
  if (text == "cpu") options->cpu = true;
  return text == "cpu";
}

// "16GB": nothing but its memory is known.
absl::StatusOr<DeviceSpec> DeviceOfMemory(const std::string& text) {
  double gigabytes = 0;
  if (!absl::EndsWithIgnoreCase(text, "GB") ||
      !absl::SimpleAtod(text.substr(0, text.size() - 2), &gigabytes))
    return absl::NotFoundError("no amount of memory");
  if (!(gigabytes > 0 && gigabytes < 1e6))
    return absl::InvalidArgumentError(
        absl::StrCat("--device: memory: expected above 0, actual ", text));
  DeviceSpec device;
  device.name = text;
  device.memory_bytes = std::llround(gigabytes * static_cast<double>(kGigabyte));
  return device;
}

// "RTX 4090", "16GB,wayland", "cpu,24GB": a device and words for its use, in any order.
absl::StatusOr<DeviceSpec> ParseDevice(const std::string& text, DevicePlanOptions* options) {
  std::optional<DeviceSpec> device;
  for (const absl::string_view view : absl::StrSplit(text, ',')) {
    const std::string part(absl::StripAsciiWhitespace(view));
    if (ParseUse(part, options)) continue;
    absl::StatusOr<DeviceSpec> found = DeviceOfMemory(part);
    if (absl::IsNotFound(found.status())) found = FindDevice(part);
    if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
    if (!found.ok())
      return absl::InvalidArgumentError(
          absl::StrCat("--device: ", found.status().message(),
                       "; or give its memory, as in 16GB or cpu,24GB, and behind a comma windows, "
                       "macos, wayland, x11, headless or unknown"));
    if (device.has_value())
      return absl::InvalidArgumentError(
          absl::StrCat("--device: ", device->name, " and ", found->name, ", expected one device"));
    device = *std::move(found);
  }
  if (!device.has_value())
    return absl::InvalidArgumentError(
        absl::StrCat("--device: '", text, "' names no device; give its memory, as in cpu,24GB"));
  return *std::move(device);
}

// Null where the device's speed is not known.
OrderedJson Known(double value, bool known) {
  return known && std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

OrderedJson TrainingJson(const TrainingPlan& p, bool speeds) {
  return {{"name", p.name},
          {"fits", p.fits},
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
            {"workspace", p.memory.workspace},
            {"checkpoint", p.memory.checkpoint},
            {"process", p.memory.process},
            {"total", p.memory.total()}}},
          {"micro_batch", p.micro_batch},
          {"sequence_length", p.sequence_length},
          {"recompute_activations", p.options.recompute_layers > 0},
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

// "weights 1.2 GB, gradients …": what is not nothing.
std::string Parts(const TrainingPlan& p) {
  const std::pair<const char*, int64_t> parts[] = {
      {"frozen base", p.base_bytes},         {"weights", p.memory.weights},
      {"gradients", p.memory.gradients},     {"moments", p.memory.moments},
      {"averages", p.memory.averages},       {"codes", p.memory.codes},
      {"activations", p.memory.activations}, {"workspace", p.memory.workspace},
      {"checkpoint", p.memory.checkpoint},   {"process", p.memory.process}};
  std::vector<std::string> named;
  for (const auto& [name, bytes] : parts) {
    if (bytes > 0)
      named.push_back(absl::StrCat(name, " ", FormatBytes(static_cast<double>(bytes))));
  }
  return absl::StrCat(absl::StrJoin(named, ", "),
                      p.options.recompute_layers > 0 ? "; activations recomputed" : "");
}

std::vector<std::string> TrainingRow(const TrainingPlan& p, bool speeds) {
  const double total = static_cast<double>(p.memory.total() + p.base_bytes);
  return {p.name, p.fits ? "yes" : "no", FormatBytes(total),
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

// What a run does that leaves it to the machine, and who makes a step.
std::string ChoicesText(bool cpu, int64_t workers) {
  return absl::StrCat("precision: auto is ", absl::AsciiStrToUpper(AutoPrecision(cpu)),
                      cpu ? " on this machine's processor" : " on a GPU", "\nworkers: ",
                      workers > 1
                          ? absl::StrCat(workers, " share a step, each takes its part of the batch")
                          : "1 makes the whole step",
                      "\n\n");
}

std::string PlanText(const PlanArguments& a, const ModelConfig& config, const DevicePlan& plan,
                     bool cpu, bool speeds) {
  std::string out =
      absl::StrFormat("%s: %s parameters, on %s: %s of it are safe to use%s\n", a.preset,
                      FormatCount(static_cast<double>(ParameterCount(config))), a.device,
                      FormatBytes(static_cast<double>(plan.budget_bytes)),
                      a.workers > 1 ? absl::StrCat(" by each of ", a.workers, " workers") : "");
  out += ChoicesText(cpu, a.workers);
  std::vector<std::vector<std::string>> rows;
  for (const TrainingPlan& training : plan.training) rows.push_back(TrainingRow(training, speeds));
  rows.push_back(InferenceRow("inference, resident", plan.resident, speeds));
  rows.push_back(InferenceRow("inference, streamed", plan.streamed, speeds));
  absl::StrAppend(&out, FormatTable({"WHAT", "FITS", "MEMORY", "AT MOST", "COST"}, rows), "\n");
  for (const TrainingPlan& training : plan.training)
    absl::StrAppend(&out, training.name, ": ", training.reason, ": ", Parts(training), "\n");
  absl::StrAppend(&out, "inference, resident: ", plan.resident.reason,
                  "\ninference, streamed: ", plan.streamed.reason, "\n");
  absl::StrAppend(&out,
                  "What would fit; this version trains fully, not with LoRA, and serves resident "
                  "models with an "
                  "f32 cache.\nTraining memory is held to 10 % of what is measured on a CPU; on a "
                  "GPU it is not "
                  "measured.\n");
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
  const absl::StatusOr<DeviceSpec> device = ParseDevice(a.device, &options);
  if (!device.ok()) return FailLocal(device.status());
  options.sequence_length = a.sequence_length;
  options.workers = a.workers;
  options.kv = a.kv == "f32" ? KvType::kF32 : a.kv == "bf16" ? KvType::kBF16 : KvType::kInt4;
  const DevicePlan plan = MakeDevicePlan(*config, *device, options);
  const bool speeds = device->bandwidth > 0;
  OrderedJson training = OrderedJson::array();
  for (const TrainingPlan& p : plan.training) training.push_back(TrainingJson(p, speeds));
  const OrderedJson json = {{"preset", a.preset},
                            {"device", device->name},
                            {"parameters", ParameterCount(*config)},
                            {"budget_bytes", plan.budget_bytes},
                            {"auto_precision", AutoPrecision(options.cpu)},
                            {"workers", a.workers},
                            {"training", training},
                            {"resident_inference", InferenceJson(plan.resident, speeds)},
                            {"streamed_inference", InferenceJson(plan.streamed, speeds)}};
  return PrintAnswer(
      context, json, [&] { return PlanText(a, *config, plan, options.cpu, speeds); },
      [&] {
        std::string fitting;
        for (const TrainingPlan& p : plan.training) {
          if (p.fits) absl::StrAppend(&fitting, p.name, "\n");
        }
        if (plan.resident.fits) absl::StrAppend(&fitting, "inference, resident\n");
        if (plan.streamed.fits) absl::StrAppend(&fitting, "inference, streamed\n");
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
                "a known device (RTX 4090, H100 …) or its memory (16GB; main memory: cpu,24GB); "
                ",wayland behind it names what else draws on it")
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
  command
      ->AddFlag("--workers", &a->workers,
                "devices that train together: also what fits each when they share moments and "
                "averages")
      .Positive();
  command->OnCall([=] { context->run = [=] { return Plan(*context, *a); }; });
}

}  // namespace tritter
