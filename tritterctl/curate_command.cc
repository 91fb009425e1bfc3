// curate: text in, shards out.
#include <map>

#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "curation/ingest.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/progress.h"

namespace tritter {
namespace {

struct CurateArguments {
  std::string input, out, split_by = "blank-line", label = "positive";
  IngestOptions ingest;
};

std::string ReportText(const std::string& out, const IngestReport& report) {
  const ShardManifest& m = report.manifest;
  const auto row = [](const char* split, const SplitEntry& s) {
    return std::vector<std::string>{split, absl::StrCat(s.documents), absl::StrCat(s.tokens),
                                    absl::StrCat(s.raw_bytes), absl::StrCat(s.shards.size())};
  };
  std::string text = FormatTable({"SPLIT", "DOCUMENTS", "TOKENS", "RAW BYTES", "SHARDS"},
                                 {row("train", m.train), row("heldout", m.heldout)});
  for (const auto& [reason, count] : m.rejected)
    absl::StrAppend(&text, "left out, ", reason, ": ", count, "\n");
  if (!report.rejects_file.empty()) absl::StrAppend(&text, "reasons: ", report.rejects_file, "\n");
  absl::StrAppend(&text, "written to ", out, "\n");
  return text;
}

int Curate(const CommandContext& context, CurateArguments arguments) {
  for (const SplitBy split : {SplitBy::kBlankLine, SplitBy::kFile, SplitBy::kJsonLine}) {
    if (arguments.split_by == SplitByName(split)) arguments.ingest.split_by = split;
  }
  arguments.ingest.label = ParseDocumentLabel(arguments.label).value_or(DocumentLabel::kPositive);
  ProgressPrinter progress(context.clock, context.quiet);
  arguments.ingest.progress = [&](uint64_t done, uint64_t total) {
    progress.UpdateWork("curate", done, total);
  };
  const absl::StatusOr<IngestReport> report =
      Ingest(context.env, arguments.input, arguments.out, arguments.ingest);
  progress.Finish();
  if (!report.ok()) return FailLocal(report.status());
  OrderedJson json = OrderedJson::parse(ShardManifestToJson(report->manifest));
  json["folder"] = arguments.out;
  return PrintAnswer(
      context, json, [&] { return ReportText(arguments.out, *report); },
      [&] { return arguments.out + "\n"; });
}

}  // namespace

void AddCurateCommand(CommandLine* app, CommandContext* context) {
  auto arguments = std::make_shared<CurateArguments>();
  CommandLine* command = app->AddCommand("curate", "turn text into shards that a run trains on");
  command->AddFlag("input", &arguments->input, "text file, or folder of text files").Required();
  command
      ->AddFlag("--out", &arguments->out,
                "folder for the shards; an earlier data set there is replaced")
      .Required();
  command
      ->AddFlag("--name", &arguments->ingest.source,
                "name of the data set (default: the folder's name)")
      .HideDefault();
  command
      ->AddFlag(
          "--split-by", &arguments->split_by,
          "what a document is: text between blank lines, a file, or `text` of a JSON object on "
          "a line (with `label` where it has one)")
      .OneOf({"blank-line", "file", "jsonl"});
  command
      ->AddFlag("--label", &arguments->label,
                "label of the documents that carry none themselves; it decides their weight in "
                "training: 1.0, 0.3, 1.2")
      .OneOf({"positive", "negative", "educational"});
  command
      ->AddFlag("--heldout-per-mille", &arguments->ingest.heldout_per_mille,
                "documents held out by the hash of their text, of a thousand")
      .Between(0, 1000);
  command
      ->AddFlag("--heldout-text", &arguments->ingest.heldout_text,
                "also write the held-out text to this file")
      .HideDefault();
  command
      ->AddFlag("--max-reject-ratio", &arguments->ingest.max_reject_ratio,
                "fail when more than this part of the documents is unusable")
      .Between(0.0, 1.0);
  command->OnCall([=] { context->run = [=] { return Curate(*context, *arguments); }; });
}

}  // namespace tritter
