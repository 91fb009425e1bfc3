// bench kernels: what this machine's processor makes of the ternary products, without a server.
#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
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
  timing.seconds = a.seconds;
  timing.cpu_clock = a.cpu_clock;
  const double bandwidth = ReadBandwidth(timing.threads), peak = Int8Peak(timing.threads);
  const TernaryGemmTimer timer;
  OrderedJson products = OrderedJson::array();
  std::vector<std::vector<std::string>> rows;
  for (const TernaryKernel* kernel : kernels) {
    for (const ProductShape& shape : ShapesFor(*kernel)) {
      const double seconds = timer.Time(*kernel, shape, timing);
      const double bytes =
          static_cast<double>(TiledBytes(shape.rows, shape.cols)) / seconds;  // a second
      const double operations = shape.operations() / seconds;
      products.push_back({{"kernel", kernel->name},
                          {"rows", shape.rows},
                          {"columns", shape.cols},
                          {"tokens", shape.tokens},
                          {"seconds", seconds},
                          {"weight_bytes_per_second", bytes},
                          {"operations_per_second", operations}});
      rows.push_back({kernel->name, absl::StrCat(shape.rows, "x", shape.cols),
                      absl::StrCat(shape.tokens), absl::StrFormat("%.1f", 1e6 * seconds),
                      absl::StrFormat("%.1f", bytes / 1e9), Percent(bytes / bandwidth),
                      absl::StrFormat("%.0f", operations / 1e9),
                      peak > 0 ? Percent(operations / peak) : "-"});
    }
  }
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
  command->AddFlag("--seconds", &a->seconds, "spent on each line").Between(0.001, 60.0);
  command->AddFlag("--cpu-clock", &a->cpu_clock,
                   "count a thread's own time, for a machine that is busy with other work");
  command->OnCall([=] { context->run = [=] { return BenchKernels(*context, *a); }; });
}

}  // namespace tritter
