// bench kernels: what this machine's processor makes of the ternary products, without a server.
#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/figure.h"
#include "common/flags.h"
#include "kernels/machine_peaks.h"
#include "kernels/packing.h"
#include "kernels/ternary_gemm.h"
#include "kernels/ternary_gemm_timing.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"

namespace tritter {
namespace {

struct KernelsArguments {
  int threads = 0;
  double seconds = 0.3;
  std::string kernel;
  bool cpu_clock = false;
};

// The matrices of the 1.1B shape; the scalar reference is too slow for more than one of them.
std::vector<ProductShape> ShapesFor(const TernaryKernel& kernel) {
  if (&kernel == &ScalarTernaryKernel()) return {{256, 2048, 1}};
  std::vector<ProductShape> shapes;
  for (const int64_t tokens : {1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 512})
    shapes.push_back({2048, 2048, tokens});
  for (const int64_t tokens : {1, 512}) {
    shapes.push_back({5632, 2048, tokens});
    shapes.push_back({2048, 5632, tokens});
  }
  return shapes;
}

constexpr int kRounds = 5;  // of a line: the product, the peak and memory in turns

struct Measured {
  double seconds, peak, bandwidth;  // medians
  double of_peak, of_bandwidth;     // medians of the rounds' shares
};

Measured Measure(TernaryGemmTimer* timer, MemoryReader* reader, const TernaryKernel& kernel,
                 const ProductShape& shape, const TimingOptions& timing) {
  const double bytes = static_cast<double>(TiledBytes(shape.rows, shape.cols));
  std::vector<double> seconds, peaks, bandwidths, of_peak, of_bandwidth;
  for (int round = 0; round < kRounds; ++round) {
    seconds.push_back(timer->Time(kernel, shape, timing));
    peaks.push_back(Int8Peak(timing.threads, timing.seconds));
    bandwidths.push_back(reader->Pass());
    of_peak.push_back(peaks.back() > 0 ? shape.operations() / seconds.back() / peaks.back() : 0);
    of_bandwidth.push_back(bytes / seconds.back() / bandwidths.back());
  }
  return {Median(seconds), Median(peaks), Median(bandwidths), Median(of_peak),
          Median(of_bandwidth)};
}

std::string Percent(double share) {
  return share > 0 ? absl::StrFormat("%.0f %%", 100 * share) : "-";
}

int BenchKernels(const CommandContext& context, const KernelsArguments& a) {
  std::vector<const TernaryKernel*> kernels;
  std::vector<std::string> names;
  for (const TernaryKernel* kernel : SupportedTernaryKernels()) {
    names.push_back(kernel->name);
    if (a.kernel.empty() || a.kernel == kernel->name) kernels.push_back(kernel);
  }
  if (kernels.empty()) {
    return FailLocal(absl::InvalidArgumentError(absl::StrCat(
        "--kernel is \"", a.kernel, "\", this processor runs ", absl::StrJoin(names, ", "))));
  }
  TimingOptions timing;
  timing.threads = a.threads > 0
                       ? a.threads
                       : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  timing.seconds = a.seconds / kRounds;
  timing.cpu_clock = a.cpu_clock;
  TernaryGemmTimer timer;
  MemoryReader reader(timing.threads);
  std::vector<double> peaks, bandwidths;
  OrderedJson products = OrderedJson::array();
  std::vector<std::vector<std::string>> rows;
  for (const TernaryKernel* kernel : kernels) {
    for (const ProductShape& shape : ShapesFor(*kernel)) {
      const Measured m = Measure(&timer, &reader, *kernel, shape, timing);
      peaks.push_back(m.peak);
      bandwidths.push_back(m.bandwidth);
      const double bytes =
          static_cast<double>(TiledBytes(shape.rows, shape.cols)) / m.seconds;  // a second
      const double operations = shape.operations() / m.seconds;
      products.push_back({{"kernel", kernel->name},
                          {"rows", shape.rows},
                          {"columns", shape.cols},
                          {"tokens", shape.tokens},
                          {"seconds", m.seconds},
                          {"weight_bytes_per_second", bytes},
                          {"share_of_read_bandwidth", m.of_bandwidth},
                          {"operations_per_second", operations},
                          {"share_of_int8_peak", m.of_peak}});
      rows.push_back({kernel->name, absl::StrCat(shape.rows, "x", shape.cols),
                      absl::StrCat(shape.tokens), absl::StrFormat("%.1f", 1e6 * m.seconds),
                      absl::StrFormat("%.1f", bytes / 1e9), Percent(m.of_bandwidth),
                      absl::StrFormat("%.0f", operations / 1e9), Percent(m.of_peak)});
    }
  }
  const double peak = Median(peaks), bandwidth = Median(bandwidths);
  const OrderedJson json = {{"cpu", CpuFeatures()},
                            {"threads", timing.threads},
                            {"read_bytes_per_second", bandwidth},
                            {"int8_operations_per_second", peak},
                            {"products", products}};
  const auto table = [&] {
    return absl::StrCat(
        "processor: ", CpuFeatures(), "; threads: ", timing.threads,
        absl::StrFormat("; memory: %.1f GB/s read", bandwidth / 1e9),
        peak > 0 ? absl::StrFormat("; int8 peak: %.0f GOP/s", peak / 1e9) : "", "\n\n",
        FormatTable({"KERNEL", "MATRIX", "TOKENS", "US", "GB/S", "OF MEMORY", "GOP/S", "OF PEAK"},
                    rows));
  };
  const auto best = [&] { return absl::StrCat(kernels.back()->name, "\n"); };
  return PrintAnswer(context, json, table, best);
}

}  // namespace

void AddBenchKernelsCommand(CommandLine* bench, CommandContext* context) {
  auto a = std::make_shared<KernelsArguments>();
  CommandLine* command = bench->AddCommand(
      "kernels",
      "speed of the ternary products on this machine, held against what its memory and "
      "its integer units can give");
  command->AddFlag("--threads", &a->threads, "threads that compute; 0: one per core")
      .Between(0, 4096);
  command->AddFlag("--kernel", &a->kernel, "this one alone; none: each that this processor runs")
      .HideDefault();
  command->AddFlag("--seconds", &a->seconds, "spent on the product of each line")
      .Between(0.001, 60.0);
  command->AddFlag("--cpu-clock", &a->cpu_clock,
                   "count a thread's own time, for a machine that is busy with other work");
  command->OnCall([=] { context->run = [=] { return BenchKernels(*context, *a); }; });
}

}  // namespace tritter
