// export: a checkpoint folder, or the newest checkpoint of a run, into a file that can be deployed.
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "model/export.h"
#include "tritterctl/artifact_check.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"

namespace tritter {
namespace {

struct ExportArguments {
  std::string what, file, tokenizer;
  ExportOptions options;
};

// The folder of the newest committed checkpoint of a run, as this machine sees it.
absl::StatusOr<std::string> NewestCheckpoint(const CommandContext& context, const std::string& run,
                                             int* exit_code) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> found = GetRunToRead(client.get(), run);
  if (!found.ok()) {
    *exit_code = FailServer(found.status());
    return found.status();
  }
  const absl::StatusOr<v1::ListCheckpointsResponse> list = client->ListCheckpoints(found->run_id());
  if (!list.ok()) {
    *exit_code = FailServer(list.status());
    return list.status();
  }
  absl::Status status;
  if (list->checkpoints_size() == 0) {
    status = absl::NotFoundError(
        absl::StrCat("run ", RunTitle(*found), " has no committed checkpoint yet"));
  } else if (const std::string& path = list->checkpoints(list->checkpoints_size() - 1).path();
             !context.env->IsDirectory(path)) {
    status = absl::NotFoundError(
        absl::StrCat(path,
                     ": not visible from this machine; run export where the run's folder is "
                     "mounted, or name the checkpoint folder itself"));
  } else {
    return path;
  }
  *exit_code = FailLocal(status);
  return status;
}

int Export(const CommandContext& context, ExportArguments arguments) {
  std::string folder = arguments.what;
  if (!context.env->IsDirectory(folder)) {
    int exit_code = kExitOk;
    const absl::StatusOr<std::string> newest =
        NewestCheckpoint(context, arguments.what, &exit_code);
    if (!newest.ok()) return exit_code;
    folder = *newest;
  }
  if (arguments.options.masters && arguments.options.format != "hf") {
    return FailLocal(absl::InvalidArgumentError(
        absl::StrCat("--masters: is for format hf, actual ", arguments.options.format)));
  }
  if (!arguments.tokenizer.empty()) {
    absl::StatusOr<TokenizerFiles> files =
        ReadTokenizerFiles(context.env, context.env->IsDirectory(arguments.tokenizer)
                                            ? JoinPath(arguments.tokenizer, kTokenizerJson)
                                            : arguments.tokenizer);
    if (!files.ok()) return FailLocal(files.status());
    arguments.options.tokenizer = std::make_shared<const TokenizerFiles>(*std::move(files));
  }
  if (!context.quiet) std::fprintf(stderr, "exporting %s\n", folder.c_str());
  const absl::StatusOr<ExportResult> result =
      ExportCheckpoint(context.env, folder, arguments.file, arguments.options);
  if (!result.ok()) return FailLocal(result.status());
  // What is about to be deployed is read back once.
  const absl::StatusOr<ArtifactCheck> check = CheckArtifact(context.env, result->path);
  if (!check.ok()) return FailLocal(check.status());
  const OrderedJson json = {{"kind", arguments.options.format},
                            {"path", result->path},
                            {"bytes", result->bytes},
                            {"sha256", result->sha256},
                            {"step", result->step},
                            {"weights", arguments.options.raw ? "raw" : "averaged"},
                            {"checkpoint", folder},
                            {"losses", result->losses}};
  return PrintAnswer(
      context, json,
      [&] {
        std::string text =
            absl::StrCat(result->path, ": ", arguments.options.format, " of step ", result->step,
                         ", ", FormatBytes(static_cast<double>(result->bytes)),
                         ", verified\nSHA-256 ", result->sha256, "\n");
        for (const std::string& loss : result->losses)
          absl::StrAppend(&text, "not kept: ", loss, "\n");
        return text;
      },
      [&] { return result->path + "\n"; });
}

}  // namespace

void AddExportCommand(CommandLine* app, CommandContext* context) {
  auto arguments = std::make_shared<ExportArguments>();
  CommandLine* command =
      app->AddCommand("export", "pack a checkpoint for deployment, and read it back");
  command
      ->AddFlag("what", &arguments->what,
                "checkpoint folder, or a run (id or name: its newest checkpoint)")
      .Required();
  command
      ->AddFlag("--format", &arguments->options.format,
                "tpack (serving), safetensors (every weight in FP32), or hf: a folder for the "
                "transformers library (families bitnet and llama)")
      .OneOf({"tpack", "safetensors", "hf"});
  command->AddFlag("-f,--file", &arguments->file, "file to write; of format hf the new folder")
      .Required();
  command->AddFlag("--tokenizer", &arguments->tokenizer,
                   "tokenizer.json that the model was trained with, or the folder that holds it, "
                   "unless it is the byte tokenizer: travels with the model");
  command->AddFlag("--raw", &arguments->options.raw, "the weights as trained, not their average");
  command->AddFlag(
      "--masters", &arguments->options.masters,
      "format hf: FP32 master weights, to be trained further, instead of packed ternary "
      "codes");
  command
      ->AddFlag("--head", &arguments->options.head,
                "tpack: the output head (with tied embeddings these too) in f32, or with a scale a "
                "row in int8 or int4, which is read whole for every token")
      .OneOf({"f32", "int8", "int4"});
  command
      ->AddFlag("--max-shard-size", &arguments->options.max_shard_bytes,
                "safetensors, hf: bytes of one file (5GB, 500MiB); more makes several and an index")
      .Positive()
      .WithUnit();
  command->OnCall([=] { context->run = [=] { return Export(*context, *arguments); }; });
}

}  // namespace tritter
