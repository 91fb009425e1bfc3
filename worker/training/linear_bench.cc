// One BitLinear, forward and backward, against the plain linear layer of the same type, in turns;
// and what the products behind them reach.
#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/figure.h"
#include "common/flags.h"
#include "worker/training/bit_linear.h"
#include "worker/training/initialise.h"

namespace tritter {
namespace {

double Seconds(const std::function<void()>& act) {
  const auto start = std::chrono::steady_clock::now();
  act();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Least seconds of each of several ways, taken in turns so that the machine's noise meets them all.
std::vector<double> InTurns(const std::vector<std::function<void()>>& ways, int rounds) {
  std::vector<double> best(ways.size(), 1e30);
  for (const auto& way : ways) way();
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < ways.size(); ++i) best[i] = std::min(best[i], Seconds(ways[i]));
  }
  return best;
}

// A layer of one shape with everything that it needs.
class Layer {
 public:
  Layer(int64_t in, int64_t out, bool quantised, GemmType type, int threads)
      : config_(ConfigOf(in, out, quantised)),
        parameters_(config_),
        sink_(&parameters_),
        parallel_(threads),
        products_(type, &parallel_) {
    InitialiseParameters(1, config_, &parameters_);
    linear_ = *BitLinear::Create({&config_, &parameters_, &sink_, &parallel_, &products_},
                                 {{"layers.0.ffn.gate.weight"}});
  }
  void Step(const at::Tensor& x, const at::Tensor& dy) {
    parameters_.MutableWeights();  // codes are made anew, as after every optimiser step
    sink_.BeginMicroBatch(true, true);
    const at::Tensor leaf = x.detach().requires_grad_(true);
    linear_->Forward(leaf).backward(dy);
  }

 private:
  static ModelConfig ConfigOf(int64_t in, int64_t out, bool quantised) {
    ModelConfig config;
    config.hidden = in;
    config.layers = config.heads = config.kv_heads = 1;
    config.head_dim = in;
    config.ffn = out;
    config.vocab = 264;
    config.context = 16;
    if (!quantised) {
      config.weight_rule = WeightRule::kNone;
      config.activations = ActivationRule::kNone;
    }
    return config;
  }

  const ModelConfig config_;
  ParameterStore parameters_;
  GradientSink sink_;
  ParallelRows parallel_;
  MatrixProducts products_;
  std::unique_ptr<Linear> linear_;
};

void BenchProducts(int threads, int rounds) {
  constexpr int64_t n = 2048;
  constexpr double kOperations = 2.0 * n * n * n / 1e9;
  const at::Tensor a = at::randn({n, n}), b = at::randn({n, n});
  const at::Tensor codes = at::randint(-1, 2, {n, n}, at::kChar),
                   x8 = at::randint(-127, 128, {n, n}, at::kChar);
  at::Tensor c = at::empty({n, n});
  ParallelRows parallel(threads);
  MatrixProducts fp32(GemmType::kFp32, &parallel), bf16(GemmType::kBf16, &parallel);
  MatrixProduct product{
      n, n, n, {a.data_ptr<float>(), nullptr, n}, {b.data_ptr<float>(), nullptr, n}};
  product.c = c.mutable_data_ptr<float>();
  const auto int8 = [&] {
    parallel.Run(n, [&](int, int64_t first, int64_t end) {
      OneLibTorchThread();
      at::_int_mm(x8.narrow(0, first, end - first), codes.t());
    });
  };
  const std::vector<double> s =
      InTurns({[&] { fp32.Run(product); }, int8, [&] { bf16.Run(product); }}, rounds);
  const char* const names[] = {"FP32 product", "int8 product", "BF16 product"};
  for (int i = 0; i < 3; ++i) {
    if (i == 2 && !HasBf16Gemm()) {
      std::printf(
          "BF16 product: this processor has no BF16 instructions, formed in FP32: %.0f GFLOP/s\n",
          kOperations / s[2]);
      continue;
    }
    PrintFigure({absl::StrCat(names[i], " 2048 x 2048 x 2048, ", threads, " threads"),
                 kOperations / s[i], "GFLOP/s", "", ""});
  }
}

void BenchLayer(int64_t in, int64_t out, GemmType type, int threads, int rounds) {
  constexpr int64_t kTokens = 2048;
  const at::Tensor x = at::randn({kTokens, in}), dy = at::randn({kTokens, out});
  Layer quantised(in, out, true, type, threads), plain(in, out, false, type, threads);
  const std::vector<double> s =
      InTurns({[&] { quantised.Step(x, dy); }, [&] { plain.Step(x, dy); }}, rounds);
  PrintFigure({absl::StrCat("BitLinear step ", in, " -> ", out, ", 2048 tokens, ",
                            type == GemmType::kBf16 ? "BF16" : "FP32", ", ", threads, " threads"),
               s[0] / s[1], "x",
               absl::StrCat("plain linear layer: ", static_cast<int>(s[1] * 1e3), " ms"),
               "<= 1.05"});
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  int threads = 2, rounds = 5;
  tritter::CommandLine app{"Times BitLinear against the plain linear layer"};
  app.AddFlag("--threads", &threads, "threads");
  app.AddFlag("--rounds", &rounds, "repetitions, of which the fastest counts");
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;
  tritter::BenchProducts(threads, rounds);
  for (const tritter::GemmType type : {tritter::GemmType::kFp32, tritter::GemmType::kBf16}) {
    if (type == tritter::GemmType::kBf16 && !tritter::HasBf16Gemm()) continue;
    tritter::BenchLayer(2048, 2048, type, threads, rounds);
    tritter::BenchLayer(2048, 5632, type, threads, rounds);
  }
}
