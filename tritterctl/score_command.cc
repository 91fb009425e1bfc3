// score: how likely a model finds a text.
#include <cmath>

#include "absl/strings/str_format.h"
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"

namespace tritter {
namespace {

struct ScoreArguments {
  std::string server = "127.0.0.1:8080", model, text, file;
  int top = 0;
};

int Score(const CommandContext& context, const ScoreArguments& arguments) {
  std::string text = arguments.text;
  if (!arguments.file.empty()) {
    const absl::StatusOr<std::string> read = context.env->ReadFile(arguments.file);
    if (!read.ok()) return FailLocal(read.status());
    text = *read;
  }
  if (text.empty())
    return FailLocal(absl::InvalidArgumentError("score: give a text, or --file with text in it"));
  v1::ScoreRequest request;
  request.set_model(arguments.model);
  request.set_text(text);
  request.set_top(arguments.top);
  const absl::StatusOr<v1::ScoreResponse> score =
      context.connect_inference(arguments.server)->Score(request);
  if (!score.ok()) return FailServer(score.status());
  OrderedJson json = ProtoToJson(*score);
  const double bits_per_byte =
      -score->total_logprob() / std::log(2.0) / static_cast<double>(text.size());
  json["bytes"] = text.size();
  json["bits_per_byte"] = bits_per_byte;
  const auto line = [&] {
    return absl::StrFormat("%d tokens, %d bytes, log-likelihood %.4f nats, %.4f bits/byte\n",
                           score->tokens_size(), text.size(), score->total_logprob(),
                           bits_per_byte);
  };
  return PrintAnswer(context, json, line, line);
}

}  // namespace

void AddScoreCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<ScoreArguments>();
  CommandLine* command =
      app->AddCommand("score", "log-likelihood of a text, token by token with -o json");
  command->AddFlag("text", &a->text, "the text").HideDefault();
  command->AddFlag("--server", &a->server, "address of an inference worker, host:port");
  command->AddFlag("--file", &a->file, "take the text from a file").HideDefault();
  command->AddFlag("--model", &a->model, "model name; none: the only one served").HideDefault();
  command->AddFlag("--top", &a->top, "candidates given for each place")
      .Between(0, 20)
      .HideDefault();
  command->OnCall([=] { context->run = [=] { return Score(*context, *a); }; });
}

}  // namespace tritter
