// Very many short requests from several clients, and whether the process has grown by them. Exit
// code 1 when it has.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/env.h"
#include "common/flags.h"
#include "inference/testing/engine_requests.h"

namespace tritter {
namespace {

int64_t ResidentKilobytes() {
  const absl::StatusOr<std::string> status = Env::Real()->ReadFile("/proc/self/status");
  if (!status.ok()) return -1;
  for (const absl::string_view line : absl::StrSplit(*status, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    int64_t kilobytes = 0;
    if (words.size() >= 2 && words[0] == "VmRSS:" && absl::SimpleAtoi(words[1], &kilobytes))
      return kilobytes;
  }
  return -1;
}

// Requests [begin, end), one of twelve cancelled, one of twelve left alone.
void Serve(Engine& engine, int64_t begin, int64_t end) {
  std::atomic<int64_t> next{begin};
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&] {
      for (int64_t i = next++; i < end; i = next++) {
        auto g = engine.Generate(RandomRequest(static_cast<uint64_t>(i), 40, 8));
        if (!g.ok()) std::abort();
        if (i % 12 == 0) continue;
        if (i % 12 == 1) (*g)->Cancel();
        Collect(**g);
      }
    });
  }
  for (std::thread& c : clients) c.join();
}

int Main(int argc, char** argv) {
  int requests = 100000, most_growth = 4096;
  CommandLine app("soak: memory of an engine under very many short requests");
  app.AddFlag("--requests", &requests, "requests behind those that warm it up").Positive();
  app.AddFlag("--most-growth", &most_growth, "kB that the process may grow").Positive();
  if (const std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  EngineOptions options;
  options.max_kv_bytes = 100 * KvPageBytes();
  const std::unique_ptr<Engine> engine = MakeEngine(options);
  const int64_t warm = std::min(2000, requests);  // every size has been met, every page made
  Serve(*engine, 0, warm);
  const int64_t before = ResidentKilobytes();
  Serve(*engine, warm, warm + requests);
  const int64_t after = ResidentKilobytes();
  std::printf("%d requests, resident %ld kB before and %ld kB after, %ld more\n", requests,
              static_cast<long>(before), static_cast<long>(after),
              static_cast<long>(after - before));
  return before > 0 && after - before <= most_growth ? 0 : 1;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
