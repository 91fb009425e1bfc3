// bench: its subcommands, and `serve`, a load generator for inference workers.
#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "common/mutex.h"
#include "common/random.h"
#include "common/shutdown.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/load_report.h"

namespace tritter {
namespace {

struct BenchArguments {
  std::string server = "127.0.0.1:8080", model;
  int clients = 4, requests = 64, warm_up = 4;
  int prompt_tokens = 128, output_tokens = 48;
  double rate = 0;
  double timeout_seconds = 0;
  uint64_t seed = 1;
};

// Distinct random prompts of ordinary tokens.
v1::GenerateRequest MakeRequest(const BenchArguments& a, int vocabulary, uint64_t index) {
  v1::GenerateRequest request;
  request.set_model(a.model);
  Philox random(MixKey(a.seed, index));
  const uint64_t first = vocabulary > 16 ? 8 : 0;  // special ids come first
  for (int i = 0; i < a.prompt_tokens; ++i) {
    request.mutable_tokens()->add_ids(
        static_cast<int32_t>(first + random.Below(static_cast<uint64_t>(vocabulary) - first)));
  }
  request.set_max_tokens(a.output_tokens);
  request.set_ignore_eos(true);
  return request;
}

class Load {
 public:
  Load(const CommandContext& context, const BenchArguments& arguments, int vocabulary)
      : context_(context), arguments_(arguments), vocabulary_(vocabulary) {
    if (arguments.rate > 0)
      due_ = PoissonArrivals(arguments.rate, arguments.requests, arguments.seed);
  }

  std::vector<LoadSample> Run() {
    std::vector<std::thread> threads;
    std::atomic<int> connected{0};
    for (int i = 0; i < arguments_.clients; ++i) {
      threads.emplace_back([&] {
        const std::unique_ptr<InferenceApi> client = context_.connect_inference(arguments_.server);
        client->GetModel(arguments_.model).status().IgnoreError();  // connects
        ++connected;
        while (connected < arguments_.clients) context_.clock->Sleep(absl::Milliseconds(1));
        Client(client.get());
      });
    }
    while (connected < arguments_.clients) context_.clock->Sleep(absl::Milliseconds(1));
    for (std::thread& thread : threads) thread.join();
    MutexLock lock(&mu_);
    return std::move(samples_);
  }

 private:
  absl::Duration Now() {
    const absl::Duration now = context_.clock->Monotonic();
    MutexLock lock(&mu_);
    if (!begun_) {
      begun_ = true;
      begin_ = now;
    }
    return now - begin_;
  }

  void Client(InferenceApi* client) {
    for (;;) {
      const int index = next_++;
      if (index >= arguments_.requests || ShutdownRequested()) return;
      LoadSample sample;
      sample.due = Now();
      if (!due_.empty()) {
        // With every client busy a request is late; its times count from when it was due.
        if (due_[static_cast<size_t>(index)] > sample.due)
          context_.clock->Sleep(due_[static_cast<size_t>(index)] - sample.due);
        sample.due = due_[static_cast<size_t>(index)];
      }
      Ask(client, static_cast<uint64_t>(index), &sample);
      MutexLock lock(&mu_);
      samples_.push_back(std::move(sample));
    }
  }

  void Ask(InferenceApi* client, uint64_t index, LoadSample* sample) {
    absl::Duration before = absl::ZeroDuration();
    bool any = false;
    const absl::Status status = client->Generate(
        MakeRequest(arguments_, vocabulary_, index),
        arguments_.timeout_seconds > 0 ? absl::Seconds(arguments_.timeout_seconds)
                                       : absl::InfiniteDuration(),
        [&](const v1::GenerateResponse& part) {
          const absl::Duration now = Now();
          const int tokens = part.token_ids_size();
          if (part.has_usage()) sample->prompt_tokens = part.usage().prompt_tokens();
          if (tokens == 0) return;
          sample->generated_tokens += tokens;
          if (!any) {
            sample->first = now;
          } else {
            for (int i = 0; i < tokens; ++i) sample->gaps.push_back((now - before) / tokens);
          }
          any = true;
          before = now;
        },
        [] { return !ShutdownRequested(); });
    sample->end = Now();
    if (!status.ok()) sample->error = absl::StatusCodeToString(status.code());
    if (status.ok() && !any) sample->error = "NO_TOKENS";
  }

  const CommandContext& context_;
  const BenchArguments& arguments_;
  const int vocabulary_;
  std::vector<absl::Duration> due_;  // empty: a closed loop
  std::atomic<int> next_{0};
  Mutex mu_;
  bool begun_ GUARDED_BY(mu_) = false;
  absl::Duration begin_ GUARDED_BY(mu_);
  std::vector<LoadSample> samples_ GUARDED_BY(mu_);
};

int BenchServe(const CommandContext& context, const BenchArguments& arguments) {
  const absl::StatusOr<v1::ModelInfo> model =
      context.connect_inference(arguments.server)->GetModel(arguments.model);
  if (!model.ok()) return FailServer(model.status());
  if (arguments.warm_up > 0) {
    BenchArguments warm_up = arguments;
    warm_up.requests = warm_up.clients = arguments.warm_up;
    warm_up.rate = 0;
    warm_up.seed = MixKey(arguments.seed, 1);  // nothing that the measured ones could reuse
    Load(context, warm_up, model->vocabulary()).Run();
  }
  const std::vector<LoadSample> samples = Load(context, arguments, model->vocabulary()).Run();
  const LoadFigures figures = Summarise(samples);
  const int code = ShutdownRequested()  ? kExitInterrupted
                   : figures.failed > 0 ? kExitFailed
                                        : kExitOk;
  OrderedJson json = {{"server", arguments.server},
                      {"model", model->name()},
                      {"kernel", model->kernel()},
                      {"clients", arguments.clients},
                      {"rate", arguments.rate},
                      {"prompt_length", arguments.prompt_tokens},
                      {"output_length", arguments.output_tokens},
                      {"seed", arguments.seed}};
  json.update(LoadJson(figures));
  const auto names = [&] { return absl::StrCat(figures.generated_tokens, "\n"); };
  return PrintAnswer(context, json, [&] { return LoadTable(figures); }, names, code);
}

}  // namespace

void AddBenchCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<BenchArguments>();
  CommandLine* bench = app->AddCommand("bench", "measure a server, or this machine");
  bench->RequireCommand();
  CommandLine* command = bench->AddCommand(
      "serve", "generated tokens a second and waiting times of an inference worker under load");
  command->AddFlag("--server", &a->server, "address of an inference worker, host:port");
  command->AddFlag("--model", &a->model, "model name; none: the only one served").HideDefault();
  command->AddFlag("--clients", &a->clients, "requests at a time, at most").Between(1, 4096);
  command
      ->AddFlag("--rate", &a->rate,
                "requests due a second, at random times; 0: each client asks again at once")
      .NonNegative();
  command->AddFlag("--requests", &a->requests, "requests measured").Between(1, 1 << 24);
  command->AddFlag("--warm-up", &a->warm_up, "requests before them").Between(0, 4096);
  command->AddFlag("--prompt-tokens", &a->prompt_tokens, "tokens of each prompt, all different")
      .Between(1, 1 << 24);
  command->AddFlag("--output-tokens", &a->output_tokens, "tokens generated for each")
      .Between(1, 1 << 24);
  command->AddFlag("--seed", &a->seed, "of prompts and times");
  command->AddFlag("--timeout", &a->timeout_seconds, "seconds for one request; 0: any")
      .NonNegative()
      .HideDefault();
  command->OnCall([=] { context->run = [=] { return BenchServe(*context, *a); }; });
  AddBenchKernelsCommand(bench, context);
}

}  // namespace tritter
