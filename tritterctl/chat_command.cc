// chat: a conversation with an inference worker in the terminal, or with a script through pipes.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/flags.h"
#include "common/shutdown.h"
#include "tritterctl/chat_session.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"

namespace tritter {
namespace {

constexpr char kHelp[] =
    "/reset forgets the conversation, /system TEXT sets what stands before it (nothing: shows "
    "it),\n"
    "/quit or Ctrl-D ends, Ctrl-C interrupts an answer. A line that ends in \\ goes on in the "
    "next.\n";

struct ChatArguments {
  std::string server = "127.0.0.1:8080", model, system;
  std::string user_prefix, assistant_prefix;  // "": the model's own form, or ChatForm's
  int max_tokens = 256, top_k = 0;
  double temperature = 0.7, top_p = 1;
  uint64_t seed = 0;
};

// Ctrl-C: of the answer, not of the program.
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // touched by the signal handler

// While it lives SIGINT only sets `interrupted`, and ends a read at the prompt.
class CatchInterrupts {
 public:
  CatchInterrupts() {
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted = true; };
    sigaction(SIGINT, &action, &before_);
  }
  ~CatchInterrupts() { sigaction(SIGINT, &before_, nullptr); }

 private:
  struct sigaction before_ = {};
};

// Lines of standard input.
class Lines {
 public:
  enum class Got { kLine, kEnd, kInterrupted };
  Got Read(std::string* line) {
    for (;;) {
      const size_t end = buffer_.find('\n');
      if (end != std::string::npos || (ended_ && !buffer_.empty())) {
        *line = buffer_.substr(0, end);
        buffer_.erase(0, end == std::string::npos ? end : end + 1);
        return Got::kLine;
      }
      if (ended_) return Got::kEnd;
      char part[4096];
      const ssize_t n = read(STDIN_FILENO, part, sizeof part);
      if (n < 0 && errno == EINTR) {
        if (interrupted.exchange(false)) return Got::kInterrupted;
        ended_ = ShutdownRequested();
        continue;
      }
      if (n <= 0) ended_ = true;
      if (n > 0) buffer_.append(part, static_cast<size_t>(n));
    }
  }

 private:
  std::string buffer_;
  bool ended_ = false;
};

class Chat {
 public:
  Chat(const CommandContext& context, const ChatArguments& arguments)
      : context_(context),
        arguments_(arguments),
        terminal_(isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0),
        client_(context.connect_inference(arguments.server)),
        session_(FormOf(arguments)) {
    session_.SetSystem(arguments.system);
  }

  int Run() {
    const CatchInterrupts catching;
    if (terminal_ && !context_.quiet) std::fputs(kHelp, stderr);
    std::string question;
    for (;;) {
      switch (ReadQuestion(&question)) {
        case Lines::Got::kEnd:
          if (terminal_) std::fputs("\n", stderr);
          return ShutdownRequested() ? kExitInterrupted : kExitOk;
        case Lines::Got::kInterrupted:
          if (!terminal_) return kExitInterrupted;
          std::fputs("\n(/quit or Ctrl-D ends)\n", stderr);
          continue;
        case Lines::Got::kLine:
          break;
      }
      const absl::string_view text = absl::StripAsciiWhitespace(question);
      if (text.empty()) continue;
      if (text == "/quit" || text == "/exit") return kExitOk;
      if (text[0] == '/') {
        Command(text);
        continue;
      }
      // A person may try again, a script must know.
      if (const int code = Answer(text); code != kExitOk && !terminal_) return code;
    }
  }

 private:
  Lines::Got ReadQuestion(std::string* question) {
    question->clear();
    std::string line;
    for (bool more = true; more;) {
      if (terminal_) std::fputs(question->empty() ? "> " : ". ", stderr);
      const Lines::Got got = lines_.Read(&line);
      if (got != Lines::Got::kLine) return got;
      absl::string_view rest = line;
      more = absl::ConsumeSuffix(&rest, "\\");
      absl::StrAppend(question, rest, more ? "\n" : "");
    }
    return Lines::Got::kLine;
  }

  void Command(absl::string_view text) {
    if (text == "/reset") {
      session_.Reset();
      std::fputs("(forgotten)\n", stderr);
    } else if (text == "/system" || absl::StartsWith(text, "/system ")) {
      absl::ConsumePrefix(&text, "/system");
      text = absl::StripAsciiWhitespace(text);
      if (!text.empty()) session_.SetSystem(std::string(text));
      std::fprintf(stderr, "(system: %s)\n", session_.system().c_str());
    } else {
      if (text != "/help")
        std::fprintf(stderr, "%s is no command here.\n", std::string(text).c_str());
      std::fputs(kHelp, stderr);
    }
  }

  static ChatForm FormOf(const ChatArguments& a) {
    ChatForm form;
    if (!a.user_prefix.empty()) form.user = a.user_prefix;
    if (!a.assistant_prefix.empty()) form.assistant = a.assistant_prefix;
    return form;
  }

  // Whether the model takes messages; asked once. A prefix given says that plain text is meant.
  absl::Status FindForm() {
    if (takes_messages_.has_value()) return absl::OkStatus();
    if (!arguments_.user_prefix.empty() || !arguments_.assistant_prefix.empty()) {
      takes_messages_ = false;
      return absl::OkStatus();
    }
    const absl::StatusOr<v1::ModelInfo> model = client_->GetModel(arguments_.model);
    if (!model.ok()) return model.status();
    takes_messages_ = model->chat();
    if (terminal_ && !context_.quiet && !model->chat())
      std::fputs("(this model has no chat template: it is given plain text)\n", stderr);
    return absl::OkStatus();
  }

  v1::GenerateRequest Request(absl::string_view question) const {
    v1::GenerateRequest request;
    request.set_model(arguments_.model);
    if (*takes_messages_) {
      for (ChatSession::Message& m : session_.Messages(question)) {
        v1::ChatMessage* message = request.mutable_chat()->add_messages();
        message->set_role(std::move(m.role));
        message->set_content(std::move(m.content));
      }
    } else {
      request.set_text(session_.Prompt(question));
      for (const std::string& stop : session_.Stops()) request.add_stop(stop);
    }
    request.set_max_tokens(arguments_.max_tokens);
    request.mutable_sampling()->set_temperature(arguments_.temperature);
    request.mutable_sampling()->set_top_p(arguments_.top_p);
    request.mutable_sampling()->set_top_k(arguments_.top_k);
    request.mutable_sampling()->set_seed(arguments_.seed + session_.turns());
    return request;
  }

  int Answer(absl::string_view question) {
    if (const absl::Status status = FindForm(); !status.ok()) return FailServer(status);
    interrupted = false;
    std::string answer;
    v1::Usage usage;
    absl::Status written;
    const auto on_part = [&](const v1::GenerateResponse& part) {
      absl::string_view text = part.text();
      if (answer.empty()) text = absl::StripLeadingAsciiWhitespace(text);
      absl::StrAppend(&answer, text);
      if (part.has_usage()) usage = part.usage();
      if (written.ok()) written = WriteStdout(text);
    };
    const auto tick = [&] { return !interrupted && !ShutdownRequested() && written.ok(); };
    absl::Status status;
    do {
      status = client_->Generate(Request(question), absl::InfiniteDuration(), on_part, tick);
      // A conversation that has become too long goes on without its beginning.
    } while (absl::IsOutOfRange(status) && answer.empty() && session_.Forget());
    if (written.ok()) written = WriteStdout("\n");
    if (!written.ok()) return AfterWriting(written, kExitOk);
    const bool was_interrupted = interrupted.exchange(false);
    // What came of an interrupted answer belongs to the conversation.
    if (status.ok() || (was_interrupted && !answer.empty())) session_.Add(question, answer);
    if (was_interrupted) {
      if (terminal_) std::fputs("(interrupted)\n", stderr);
      return kExitOk;
    }
    if (!status.ok()) return FailServer(status);
    if (terminal_ && !context_.quiet && usage.decode_seconds() > 0) {
      std::fprintf(stderr, "(%d tokens after %d, %.1f tokens/s, first after %.0f ms)\n",
                   usage.generated_tokens(), usage.prompt_tokens(),
                   usage.generated_tokens() / (usage.prefill_seconds() + usage.decode_seconds()),
                   1e3 * (usage.queue_seconds() + usage.prefill_seconds()));
    }
    return kExitOk;
  }

  const CommandContext& context_;
  const ChatArguments& arguments_;
  const bool terminal_;
  const std::unique_ptr<InferenceApi> client_;
  ChatSession session_;
  std::optional<bool> takes_messages_;
  Lines lines_;
};

}  // namespace

void AddChatCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<ChatArguments>();
  CommandLine* command =
      app->AddCommand("chat", "talk with a model; /help lists what can be typed");
  command->AddFlag("--server", &a->server, "address of an inference worker, host:port");
  command->AddFlag("--model", &a->model, "model name; none: the only one served").HideDefault();
  command->AddFlag("--system", &a->system, "stands before the conversation").HideDefault();
  command
      ->AddFlag("--user-prefix", &a->user_prefix,
                "stands before every question, as plain text; none: the model's chat template, or "
                "\"User:\" without one")
      .HideDefault();
  command
      ->AddFlag("--assistant-prefix", &a->assistant_prefix,
                "stands before every answer; \"Assistant:\"")
      .HideDefault();
  command->AddFlag("--max-tokens", &a->max_tokens, "of one answer").Between(1, 1 << 24);
  command->AddFlag("--temperature", &a->temperature, "0 takes the most likely token always")
      .Between(0.0, 100.0);
  command
      ->AddFlag("--top-p", &a->top_p,
                "sample from the most likely tokens that together have this probability")
      .Between(std::numeric_limits<double>::min(), 1.0, "above 0, at most 1");
  command->AddFlag("--top-k", &a->top_k, "sample from this many most likely tokens; 0 means all")
      .NonNegative()
      .HideDefault();
  command->AddFlag("--seed", &a->seed, "the same seed and questions give the same answers");
  command->OnCall([=] { context->run = [=] { return Chat(*context, *a).Run(); }; });
}

}  // namespace tritter
