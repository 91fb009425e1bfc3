// convert: a model from one container into another.
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/flags.h"
#include "model/export.h"
#include "model/serving/open_model.h"
#include "tritterctl/artifact_check.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/progress.h"
#include "tritterctl/travelling_tokenizer.h"

namespace tritter {
namespace {

struct ConvertArguments {
  std::string from, to, tokenizer;
  ExportOptions options;
  std::string architecture, type, embeddings, head;  // "" where not given
};

// Shows how much of the weights has been read.
class ObservedWeights final : public WeightSource {
 public:
  ObservedWeights(std::unique_ptr<WeightSource> source, int reads_of_codes,
                  ProgressPrinter* progress)
      : source_(std::move(source)), reads_of_codes_(reads_of_codes), progress_(progress) {
    for (const ParameterSpec& parameter : ParameterTable(config())) total_ += BytesOfAll(parameter);
  }
  const ModelConfig& config() const override { return source_->config(); }
  const WeightOrigin& origin() const override { return source_->origin(); }
  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override {
    Count(parameter);
    return source_->Get(parameter);
  }
  absl::StatusOr<const TernaryCodes*> GetCodes(const ParameterSpec& parameter) override {
    const absl::StatusOr<const TernaryCodes*> codes = source_->GetCodes(parameter);
    if (codes.ok() && *codes != nullptr) Count(parameter);  // else Get follows
    return codes;
  }

 private:
  uint64_t BytesOnce(const ParameterSpec& parameter) const {
    uint64_t values = 1;
    for (const int64_t n : parameter.shape) values *= static_cast<uint64_t>(n);
    return parameter.kind == ParameterKind::kTernary ? values / 4 : values * 4;
  }
  uint64_t BytesOfAll(const ParameterSpec& parameter) const {
    const bool ternary = parameter.kind == ParameterKind::kTernary;
    return BytesOnce(parameter) * static_cast<uint64_t>(ternary ? reads_of_codes_ : 1);
  }
  void Count(const ParameterSpec& parameter) {
    done_ += BytesOnce(parameter);
    progress_->UpdateWork("convert", std::min(done_, total_), total_);
  }

  const std::unique_ptr<WeightSource> source_;
  const int reads_of_codes_;
  ProgressPrinter* const progress_;
  uint64_t done_ = 0, total_ = 0;
};

absl::Status TakeOptions(ConvertArguments* arguments) {
  ExportOptions& options = arguments->options;
  if (options.masters && options.format != "hf") {
    return absl::InvalidArgumentError(
        absl::StrCat("--masters: is for --to hf, actual ", options.format));
  }
  if (!arguments->head.empty() && options.format != "tpack") {
    return absl::InvalidArgumentError(
        absl::StrCat("--head: is for --to tpack, actual ", options.format));
  }
  if (!arguments->head.empty()) options.head = arguments->head;
  const std::pair<const char*, const std::string*> of_gguf[] = {
      {"--architecture", &arguments->architecture},
      {"--type", &arguments->type},
      {"--embeddings", &arguments->embeddings}};
  for (const auto& [flag, value] : of_gguf) {
    if (value->empty() || options.format == "gguf") continue;
    return absl::InvalidArgumentError(
        absl::StrCat(flag, ": is for --to gguf, actual ", options.format));
  }
  for (const GgufArchitecture architecture :
       {GgufArchitecture::kBitnetB158, GgufArchitecture::kBitnet, GgufArchitecture::kLlama}) {
    if (arguments->architecture == GgufArchitectureName(architecture))
      options.gguf.architecture = architecture;
  }
  if (!arguments->type.empty()) options.gguf.matrices = FindGgufType(arguments->type)->type;
  if (!arguments->embeddings.empty())
    options.gguf.embeddings = FindGgufType(arguments->embeddings)->type;
  return absl::OkStatus();
}

int Convert(const CommandContext& context, ConvertArguments arguments) {
  if (const absl::Status taken = TakeOptions(&arguments); !taken.ok()) return FailLocal(taken);
  ExportOptions& options = arguments.options;
  absl::StatusOr<std::unique_ptr<WeightSource>> opened =
      OpenModelWeights(context.env, arguments.from);
  if (!opened.ok()) return FailLocal(opened.status());
  ProgressPrinter progress(context.clock, context.quiet);
  // Of a packed folder all scales are written before any codes.
  const int reads = options.format == "hf" && !options.masters ? 2 : 1;
  ObservedWeights source(*std::move(opened), reads, &progress);
  std::string why_no_tokenizer;
  absl::StatusOr<std::shared_ptr<const TokenizerFiles>> tokenizer =
      TokenizerToTravel(context.env, arguments.from, source.origin().tokenizer_hash,
                        arguments.tokenizer, &why_no_tokenizer);
  if (!tokenizer.ok()) return FailLocal(tokenizer.status());
  options.tokenizer = *std::move(tokenizer);
  absl::StatusOr<ExportResult> result = ExportWeights(context.env, &source, arguments.to, options);
  progress.Finish();
  if (!result.ok()) return FailLocal(result.status());
  const absl::StatusOr<ArtifactCheck> check = CheckArtifact(context.env, result->path);
  if (!check.ok()) return FailLocal(check.status());
  if (!why_no_tokenizer.empty()) result->losses.push_back(why_no_tokenizer);
  const OrderedJson json = {
      {"kind", options.format},  {"path", result->path},
      {"bytes", result->bytes},  {"sha256", result->sha256},
      {"from", arguments.from},  {"family", FamilyName(source.config().family)},
      {"losses", result->losses}};
  return PrintAnswer(
      context, json,
      [&] {
        std::string text = absl::StrCat(
            result->path, ": ", options.format, " of ",
            FormatCount(static_cast<double>(ParameterCount(source.config()))), " parameters, ",
            FormatBytes(static_cast<double>(result->bytes)), ", verified\n");
        for (const std::string& loss : result->losses)
          absl::StrAppend(&text, "not kept: ", loss, "\n");
        return text;
      },
      [&] { return result->path + "\n"; });
}

}  // namespace

void AddConvertCommand(CommandLine* app, CommandContext* context) {
  auto arguments = std::make_shared<ConvertArguments>();
  CommandLine* command = app->AddCommand(
      "convert", "write a model in another container, and say what that cannot hold");
  command
      ->AddFlag("from", &arguments->from,
                ".tpack, GGUF, Hugging Face folder, or .safetensors of `tritterctl export`")
      .Required();
  command->AddFlag("file", &arguments->to, "file to write; of --to hf the new folder").Required();
  command
      ->AddFlag("--to", &arguments->options.format,
                "tpack (to serve), gguf (families bitnet and llama; docs/formats/gguf.md) or hf (a "
                "Hugging Face folder)")
      .OneOf({"tpack", "gguf", "hf"})
      .Required();
  command
      ->AddFlag("--architecture", &arguments->architecture,
                "gguf: of family bitnet bitnet-b1.58 (squared ReLU, as trained; the default) or "
                "bitnet (what llama.cpp reads; it applies SiLU); of family llama llama")
      .OneOf({"bitnet-b1.58", "bitnet", "llama"});
  command
      ->AddFlag("--type", &arguments->type,
                "gguf: type of the ternary matrices; tq2_0 unless given")
      .OneOf({"f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0"});
  command
      ->AddFlag("--embeddings", &arguments->embeddings,
                "gguf: type of embedding and head; f16 unless given")
      .OneOf({"f32", "f16", "bf16", "q8_0"});
  command
      ->AddFlag("--head", &arguments->head,
                "tpack: the output head (with tied embeddings these too) in f32, or with a scale a "
                "row in int8 or int4; f32 unless given")
      .OneOf({"f32", "int8", "int4"});
  command->AddFlag("--tokenizer", &arguments->tokenizer,
                   "its tokenizer.json, or the folder that holds it; looked for beside the model "
                   "and in it unless given");
  command->AddFlag("--masters", &arguments->options.masters,
                   "hf: FP32 weights to be trained further, instead of packed codes");
  command
      ->AddFlag("--max-shard-size", &arguments->options.max_shard_bytes,
                "hf: bytes of one file (5GB, 500MiB); more makes several and an index")
      .Positive()
      .WithUnit();
  command->OnCall([=] { context->run = [=] { return Convert(*context, *arguments); }; });
}

}  // namespace tritter
