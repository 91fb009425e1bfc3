// Inference on the first GPU, one line a figure (common/figure.h): bandwidth of matrix-vector
// products against a copy in the same minutes, decode and prefill of the bare forward pass, decode
// with half of the weights copied to the GPU for every step. Random weights of the shape "1.1B", or
// --model.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "inference/cuda/cuda_forward.h"
#include "kernels/cuda/ternary_layout.h"
#include "kernels/cuda/ternary_products.h"
#include "model/serving/open_model.h"
#include "tests/testing/memory_tpack.h"
#include "tests/testing/random_model.h"

namespace tritter {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds of one run of `work` on `stream`: the best of five times `repeats` runs.
double Seconds(cudaStream_t stream, int repeats, const std::function<void()>& work) {
  double best = 1e30;
  for (int round = 0; round < 6; ++round) {
    (void)cudaStreamSynchronize(stream);
    const double start = Now();
    for (int i = 0; i < repeats; ++i) work();
    (void)cudaStreamSynchronize(stream);
    if (round > 0) best = std::min(best, (Now() - start) / repeats);  // the first warms up
  }
  return best;
}

// Bytes read and written a second by copies of memory that no cache holds.
absl::StatusOr<double> CopyBandwidth(cudaStream_t stream) {
  constexpr int64_t kBytes = int64_t{1} << 30;
  DeviceMemory memory(stream);
  uint8_t *from = nullptr, *to = nullptr;
  RETURN_IF_ERROR(memory.Allocate(kBytes, "the copy", &from));
  RETURN_IF_ERROR(memory.Allocate(kBytes, "the copy", &to));
  const double seconds = Seconds(stream, 10, [&] {
    (void)cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice, stream);
  });
  return 2 * kBytes / seconds;
}

// Products of `rows` x `cols` ternary weights, of several matrices in turn so that no cache holds
// the weights.
absl::Status BenchProduct(int rows, int cols, int tokens, double copy, cudaStream_t stream) {
  const int64_t words = cuda::GpuTernaryWords(rows, cols), bytes = words * 4;
  const int64_t matrices = std::max<int64_t>(2, (int64_t{1} << 29) / bytes);
  const int stride = static_cast<int>(DeviceRowStride(cols));
  DeviceMemory memory(stream);
  uint32_t* weights = nullptr;
  float *scales = nullptr, *inv = nullptr, *out = nullptr;
  int8_t* x = nullptr;
  int32_t* sums = nullptr;
  RETURN_IF_ERROR(memory.Allocate(words * matrices, "weights", &weights));
  RETURN_IF_ERROR(memory.Allocate(cuda::GpuRowBlocks(rows) * 16, "scales", &scales));
  RETURN_IF_ERROR(memory.Allocate(tokens, "rows", &inv));
  RETURN_IF_ERROR(memory.Allocate(tokens, "rows", &sums));
  RETURN_IF_ERROR(memory.Allocate(int64_t{tokens} * stride, "rows", &x));
  RETURN_IF_ERROR(memory.Allocate(int64_t{tokens} * rows, "results", &out));
  for (const auto& [p, n] :
       std::vector<std::pair<void*, int64_t>>{{weights, bytes * matrices},
                                              {scales, cuda::GpuRowBlocks(rows) * 64},
                                              {inv, tokens * 4},
                                              {sums, tokens * 4},
                                              {x, int64_t{tokens} * stride}})
    RETURN_IF_ERROR(CudaStatus(cudaMemsetAsync(p, 0x55, static_cast<size_t>(n), stream), "clear"));
  int64_t turn = 0;
  const double seconds = Seconds(stream, static_cast<int>(std::max<int64_t>(matrices, 50)), [&] {
    cuda::TernaryProduct({weights + words * (turn++ % matrices), scales, rows, cols},
                         {x, sums, inv, stride, tokens}, {out, rows, cuda::Epilogue::kStore},
                         stream);
  });
  RETURN_IF_ERROR(CudaStatus(cudaGetLastError(), "a product"));
  const std::string name =
      absl::StrCat("cuda product ", rows, "x", cols, ", ", tokens, tokens == 1 ? " row" : " rows");
  if (tokens <= cuda::kVectorRows) {
    PrintFigure({absl::StrCat(name, ", share of copy bandwidth"),
                 100 * static_cast<double>(bytes) / seconds / copy, "%",
                 absl::StrCat(static_cast<int64_t>(copy / 1e9), " GB/s"),
                 tokens == 1 && bytes >= (8 << 20) ? ">= 60" : ""});
  } else {
    PrintFigure({name, 2.0 * rows * cols * tokens / seconds / 1e12, "TOP/s", "", ""});
  }
  return absl::OkStatus();
}

absl::Status BenchForward(const PackedModel& model, KvFormat format, const char* format_name) {
  CudaForwardOptions options;
  options.kv_format = format;
  options.kv_pages = 4096;
  ASSIGN_OR_RETURN(const std::unique_ptr<CudaForward> forward, CudaForward::Create(model, options));
  KvPagePool pages(forward->layout().page_bytes, options.kv_pages, forward->kv_memory());
  std::vector<std::vector<uint8_t*>> tables(64);
  absl::Status status;
  // Median seconds of a step of `sequences` sequences, each with `count` new positions at `depth`.
  const auto step = [&](int sequences, int64_t count, int64_t depth, int times) {
    std::vector<double> seconds;
    for (int i = 0; i < times && status.ok(); ++i) {
      std::vector<ForwardRow> rows;
      for (int s = 0; s < sequences; ++s) {
        std::vector<uint8_t*>& table = tables[static_cast<size_t>(s)];
        const int64_t more = KvPagesFor(depth + count) - static_cast<int64_t>(table.size());
        if (more > 0) {
          const absl::StatusOr<bool> taken = pages.Take(more, &table);
          if (!taken.ok() || !*taken) {
            status = absl::ResourceExhaustedError("the benchmark has too few pages");
            return 0.0;
          }
        }
        for (int64_t r = 0; r < count; ++r) {
          const int64_t token = (s * 7919 + (depth + r) * 104729) % model.config().vocab;
          rows.push_back({static_cast<int32_t>(token), depth + r, &table, r + 1 == count});
        }
      }
      const double start = Now();
      status = forward->Run(rows, [](int64_t, int64_t) {});
      seconds.push_back(Now() - start);
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds.empty() ? 0.0 : seconds[seconds.size() / 2];
  };
  const auto print = [&](const std::string& what, double value) {
    PrintFigure({absl::StrCat("cuda ", what, ", KV ", format_name), value, "tokens/s", "", ""});
  };
  for (const int batch : {1, 2, 4, 8, 16, 32, 64})
    print(absl::StrCat("decode at batch ", batch), batch / step(batch, 1, 16, 50));
  print("prefill 512", 512 / step(1, 512, 0, 10));
  for (int64_t depth = 512; depth < 2048; depth += 512) (void)step(1, 512, depth, 1);
  print("decode at depth 2040", 1 / step(1, 1, 2040, 50));
  return status;
}

// Decoding with half of the weights in the GPU's memory: what the copies give against what they
// gave with nothing beside them.
absl::Status BenchStreamed(const PackedModel& model) {
  CudaForwardOptions options;
  options.kv_format = KvFormat::kBf16;
  options.kv_pages = 64;
  const int64_t outer = DeviceOuterBytes(model.config(), model.embedding().type, model.head().type);
  const int64_t layers = model.config().layers * LayoutOfLayer(model.config()).bytes;
  options.streaming = {outer + layers / 2, 2};
  ASSIGN_OR_RETURN(const std::unique_ptr<CudaForward> forward, CudaForward::Create(model, options));
  KvPagePool pages(forward->layout().page_bytes, options.kv_pages, forward->kv_memory());
  std::vector<uint8_t*> table;
  ASSIGN_OR_RETURN(const bool taken, pages.Take(options.kv_pages, &table));
  if (!taken) return absl::ResourceExhaustedError("the benchmark has too few pages");
  const StreamStats before = forward->stream_stats();
  const double start = Now();
  constexpr int kSteps = 100;
  for (int64_t p = 0; p < kSteps; ++p) {
    const ForwardRow row = {static_cast<int32_t>(p), p, &table, true};
    RETURN_IF_ERROR(forward->Run({&row, 1}, [](int64_t, int64_t) {}));
  }
  const double seconds = Now() - start;
  const StreamStats after = forward->stream_stats();
  const double achieved = static_cast<double>(after.bytes_read - before.bytes_read) / seconds;
  const std::string how = forward->page_locked() ? "page-locked" : "through page-locked buffers";
  PrintFigure({"cuda streamed decode", kSteps / seconds, "tokens/s", "", ""});
  PrintFigure({absl::StrCat("cuda streamed copies, ", how, ", share of plain copies"),
               100 * achieved / after.source_bytes_per_second, "%",
               absl::StrCat(static_cast<int64_t>(after.source_bytes_per_second / 1e9), " GB/s"),
               ""});
  return absl::OkStatus();
}

absl::Status Bench(const std::string& path) {
  RETURN_IF_ERROR(CudaStatus(cudaSetDevice(0), "being chosen"));
  cudaStream_t stream = nullptr;
  RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  ASSIGN_OR_RETURN(const double copy, CopyBandwidth(stream));
  PrintFigure({"cuda copy", copy / 1e9, "GB/s", "", ""});
  for (const auto& [rows, cols] :
       {std::pair{11264, 2048}, {16384, 2048}, {8192, 8192}, {28672, 4096}, {4096, 14336}}) {
    for (const int tokens : {1, 4, 8, 64, 512})
      RETURN_IF_ERROR(BenchProduct(rows, cols, tokens, copy, stream));
  }
  (void)cudaStreamDestroy(stream);
  std::unique_ptr<PackedModelFile> file;
  if (path.empty()) {
    ASSIGN_OR_RETURN(const ModelConfig config, RandomModelPreset("1.1B"));
    file = MemoryTpack::Random(config, 1);
  } else {
    ASSIGN_OR_RETURN(file, OpenModel(Env::Real(), path));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<PackedModel> model,
                   PackedModel::Load(std::move(file), BestTernaryKernel()));
  RETURN_IF_ERROR(BenchForward(*model, KvFormat::kBf16, "BF16"));
  RETURN_IF_ERROR(BenchForward(*model, KvFormat::kInt4, "INT4"));
  return BenchStreamed(*model);
}

int Main(int argc, char** argv) {
  CommandLine app("Speed of inference on the first GPU.");
  std::string model;
  app.AddFlag("--model", &model,
              "model in any form that is served; none: random weights of the 1.1B shape");
  if (const std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  if (const absl::Status status = Bench(model); !status.ok()) {
    std::fprintf(stderr, "cuda_engine_bench: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
