// import: weights from elsewhere into something that is served, trained on, or passed on.
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "model/folder_checkpoint_store.h"
#include "model/import.h"
#include "model/ternary_conversion.h"
#include "tritterctl/artifact_check.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"

namespace tritter {
namespace {

struct ImportArguments {
  std::string from, file, format = "tpack";
  bool ternary = false;
};

// Reads what was written to the end.
absl::Status CheckWritten(Env* env, const std::string& format, const std::string& path) {
  if (format != "checkpoint") return CheckArtifact(env, path).status();
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> checkpoint,
                   OpenCheckpointFolder(env, path));
  return VerifyCheckpoint(*checkpoint);
}

int Import(const CommandContext& context, const ImportArguments& arguments) {
  absl::StatusOr<std::unique_ptr<WeightSource>> source =
      OpenForeignWeights(context.env, arguments.from);
  if (source.ok() && arguments.ternary) source = AsTernary(*std::move(source));
  if (!source.ok()) return FailLocal(source.status());
  if (!context.quiet) std::fprintf(stderr, "importing %s\n", arguments.from.c_str());
  ExportOptions options;
  options.format = arguments.format;
  const absl::StatusOr<ExportResult> result =
      arguments.format == "checkpoint"
          ? WriteCheckpointOf(context.env, source->get(), arguments.file)
          : ExportWeights(context.env, source->get(), arguments.file, options);
  if (!result.ok()) return FailLocal(result.status());
  const absl::Status whole = CheckWritten(context.env, arguments.format, result->path);
  if (!whole.ok()) return FailLocal(whole);
  const ModelConfig& model = (*source)->config();
  const OrderedJson json = {{"kind", arguments.format},
                            {"path", result->path},
                            {"bytes", result->bytes},
                            {"sha256", result->sha256},
                            {"from", arguments.from},
                            {"family", FamilyName(model.family)},
                            {"parameters", ParameterCount(model)},
                            {"tokenizer_hash", (*source)->origin().tokenizer_hash},
                            {"model", ModelConfigToYaml(model, 0)}};
  return PrintAnswer(
      context, json,
      [&] {
        return absl::StrCat(result->path, ": ", arguments.format, " of ",
                            FormatCount(static_cast<double>(ParameterCount(model))),
                            " parameters, ", FormatBytes(static_cast<double>(result->bytes)),
                            ", verified\nmodel:\n", ModelConfigToYaml(model, 2));
      },
      [&] { return result->path + "\n"; });
}

}  // namespace

void AddImportCommand(CommandLine* app, CommandContext* context) {
  auto arguments = std::make_shared<ImportArguments>();
  CommandLine* command = app->AddCommand(
      "import", "make a Hugging Face bitnet folder, or an exported .safetensors, ours");
  command
      ->AddFlag("from", &arguments->from,
                "Hugging Face folder, .safetensors file of `tritterctl export`, or its index")
      .Required();
  command
      ->AddFlag("--format", &arguments->format,
                "tpack (to serve), checkpoint (weights with fresh moments), safetensors or hf")
      .OneOf({"tpack", "checkpoint", "safetensors", "hf"});
  command->AddFlag(
      "--ternary", &arguments->ternary,
      "of weights trained without quantisation (weight_rule: none): make them ternary, "
      "each row with the norm that it had");
  command
      ->AddFlag("-f,--file", &arguments->file,
                "file to write; of formats checkpoint and hf the new folder")
      .Required();
  command->OnCall([=] { context->run = [=] { return Import(*context, *arguments); }; });
}

}  // namespace tritter
