// generate: a prompt completed by an inference worker, shown as it comes.
#include <unistd.h>

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/flags.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"

namespace tritter {
namespace {

struct GenerateArguments {
  std::string server = "127.0.0.1:8080", model, prompt;
  int max_tokens = 128, top_k = 0, logprobs = -1;
  double temperature = 0, top_p = 1, min_p = 0, timeout_seconds = 0;
  double repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  uint64_t seed = 0;
  std::vector<std::string> stop, logit_bias;
  std::string json_schema;
  bool ignore_eos = false, json = false;
};

absl::Status AddBias(const std::string& flag, v1::Sampling* sampling) {
  const std::vector<absl::string_view> parts = absl::StrSplit(flag, absl::MaxSplits(':', 1));
  int32_t id = 0;
  double bias = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &id) || !absl::SimpleAtod(parts[1], &bias)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--logit-bias ", flag, ": expected a token id and what to add, as in 17:-100"));
  }
  (*sampling->mutable_logit_bias())[id] = bias;
  return absl::OkStatus();
}

absl::StatusOr<v1::GenerateRequest> MakeRequest(const GenerateArguments& a, Env* env) {
  v1::GenerateRequest request;
  request.set_model(a.model);
  request.set_text(a.prompt);
  request.set_max_tokens(a.max_tokens);
  v1::Sampling* sampling = request.mutable_sampling();
  sampling->set_temperature(a.temperature);
  sampling->set_top_p(a.top_p);
  sampling->set_top_k(a.top_k);
  sampling->set_min_p(a.min_p);
  sampling->set_seed(a.seed);
  sampling->set_repetition_penalty(a.repetition_penalty);
  sampling->set_presence_penalty(a.presence_penalty);
  sampling->set_frequency_penalty(a.frequency_penalty);
  for (const std::string& flag : a.logit_bias) RETURN_IF_ERROR(AddBias(flag, sampling));
  for (const std::string& s : a.stop) request.add_stop(s);
  request.set_ignore_eos(a.ignore_eos);
  if (a.logprobs >= 0) request.set_logprobs(a.logprobs);
  if (a.json && !a.json_schema.empty())
    return absl::InvalidArgumentError("--json and --json-schema: give one of them");
  if (a.json) request.set_json_object(true);
  if (!a.json_schema.empty()) {
    ASSIGN_OR_RETURN(*request.mutable_json_schema(), env->ReadFile(a.json_schema));
  }
  return request;
}

int Generate(const CommandContext& context, const GenerateArguments& arguments) {
  const bool streamed = context.for_people() || context.format() == OutputFormat::kName;
  if (streamed && arguments.logprobs >= 0) {
    return FailLocal(absl::InvalidArgumentError(
        "--logprobs: a text has no place for them; ask for all of the answer with -o json"));
  }
  const absl::StatusOr<v1::GenerateRequest> request = MakeRequest(arguments, context.env);
  if (!request.ok()) return FailLocal(request.status());
  const std::unique_ptr<InferenceApi> client = context.connect_inference(arguments.server);
  v1::GenerateResponse whole;
  absl::Status written;
  const absl::Status status = client->Generate(
      *request,
      arguments.timeout_seconds > 0 ? absl::Seconds(arguments.timeout_seconds)
                                    : absl::InfiniteDuration(),
      [&](const v1::GenerateResponse& part) {
        whole.set_text(whole.text() + part.text());
        whole.mutable_token_ids()->MergeFrom(part.token_ids());
        whole.mutable_logprobs()->MergeFrom(part.logprobs());
        if (part.finish_reason() != v1::FINISH_REASON_UNSPECIFIED)
          whole.set_finish_reason(part.finish_reason());
        if (part.has_usage()) *whole.mutable_usage() = part.usage();
        if (streamed && written.ok()) written = WriteStdout(part.text());
      },
      [&] { return !ShutdownRequested() && written.ok(); });
  // The text stays as the model gave it in files; on a terminal the shell's prompt gets a line of
  // its own.
  if (streamed && written.ok() && isatty(STDOUT_FILENO) != 0) written = WriteStdout("\n");
  if (!written.ok()) return AfterWriting(written, kExitOk);
  if (!status.ok()) return FailServer(status);
  if (!streamed) {
    const auto none = [] { return std::string(); };
    if (const int code = PrintAnswer(context, ProtoToJson(whole), none, none); code != kExitOk)
      return code;
  }
  const v1::Usage& usage = whole.usage();
  if (!context.quiet && isatty(STDERR_FILENO) != 0 && usage.generated_tokens() > 0) {
    const double seconds = usage.prefill_seconds() + usage.decode_seconds();
    std::fprintf(stderr, "%d tokens after %d, %.1f tokens/s, first after %.0f ms\n",
                 usage.generated_tokens(), usage.prompt_tokens(),
                 seconds > 0 ? usage.generated_tokens() / seconds : 0.0,
                 1e3 * (usage.queue_seconds() + usage.prefill_seconds()));
  }
  if (whole.finish_reason() == v1::FINISH_REASON_DEADLINE) return kExitTimedOut;
  if (whole.finish_reason() == v1::FINISH_REASON_CANCELLED) return kExitInterrupted;
  return kExitOk;
}

}  // namespace

void AddGenerateCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<GenerateArguments>();
  CommandLine* command =
      app->AddCommand("generate", "complete a prompt; the text is written as it comes");
  command->AddFlag("prompt", &a->prompt, "text to continue").Required();
  command->AddFlag("--server", &a->server, "address of an inference worker, host:port");
  command->AddFlag("--model", &a->model, "model name; none: the only one served").HideDefault();
  command->AddFlag("--max-tokens", &a->max_tokens, "at most this many").Between(1, 1 << 24);
  command->AddFlag("--temperature", &a->temperature, "0 takes the most likely token always")
      .Between(0.0, 100.0);
  command
      ->AddFlag("--top-p", &a->top_p,
                "sample from the most likely tokens that together have this probability")
      // The wire has no difference between 0 and "not given", which means 1.
      .Between(std::numeric_limits<double>::min(), 1.0, "above 0, at most 1");
  command->AddFlag("--top-k", &a->top_k, "sample from this many most likely tokens; 0 means all")
      .NonNegative()
      .HideDefault();
  command
      ->AddFlag("--min-p", &a->min_p,
                "sample from tokens at least this share as likely as the most likely one")
      .Between(0.0, 1.0)
      .HideDefault();
  command
      ->AddFlag("--repetition-penalty", &a->repetition_penalty,
                "above 1 makes tokens of prompt and text less likely")
      .Between(0.01, 100.0);
  command->AddFlag("--presence-penalty", &a->presence_penalty, "off the logit of every token made")
      .Between(-2.0, 2.0)
      .HideDefault();
  command
      ->AddFlag("--frequency-penalty", &a->frequency_penalty,
                "off the logit of a token for each time it was made")
      .Between(-2.0, 2.0)
      .HideDefault();
  command
      ->AddFlag("--logit-bias", &a->logit_bias,
                "ID:BIAS, added to a token's logit, -100 to 100; may be given more than once")
      .HideDefault();
  command->AddFlag("--seed", &a->seed, "the same seed gives the same text");
  command->AddFlag("--stop", &a->stop, "end before this text; may be given more than once")
      .HideDefault();
  command
      ->AddFlag("--logprobs", &a->logprobs,
                "with -o json: log-probabilities of every token and of so many candidates")
      .Between(0, 20)
      .HideDefault();
  command->AddFlag("--json", &a->json, "the text is a JSON object").HideDefault();
  command
      ->AddFlag("--json-schema", &a->json_schema,
                "file with a JSON Schema; the text is JSON that it allows")
      .HideDefault();
  command->AddFlag("--ignore-eos", &a->ignore_eos, "go on behind the end of a document");
  command->AddFlag("--timeout", &a->timeout_seconds, "seconds; then exit 7; 0 means for ever")
      .NonNegative()
      .HideDefault();
  command->OnCall([=] { context->run = [=] { return Generate(*context, *a); }; });
}

}  // namespace tritter
