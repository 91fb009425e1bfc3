// Attention of training against LibTorch's own (at::scaled_dot_product_attention, FP32, forward and
// backward) in the same run, one thread, and what the window modes cost as the length grows.
//   attention_bench [--seconds S]
// Prints per shape: microseconds of each direction and GFLOP/s over the visible pairs (4 D forward,
// 10 D backward each). Time is the thread's own CPU time, the best of the passes, which alternate.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "common/flags.h"
#include "kernels/training_attention.h"
#include "worker/training/float_buffer.h"

namespace tritter {
namespace {

double Seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Shape {
  const char* name;
  int64_t sequences, heads, kv_heads, length, d;
  AttentionMask mask;
};

// Best seconds of one pass.
struct Times {
  double forward = 1e9, backward = 1e9;
  void Take(double f, double b) {
    forward = std::min(forward, f);
    backward = std::min(backward, b);
  }
  void Print(const char* whose, const Shape& shape, double pairs) const {
    const double flops = pairs * static_cast<double>(shape.d);
    std::printf("%-28s %-9s forward %9.1f us %6.1f GFLOP/s   backward %9.1f us %6.1f GFLOP/s\n",
                shape.name, whose, forward * 1e6, 4 * flops / forward * 1e-9, backward * 1e6,
                10 * flops / backward * 1e-9);
  }
};

// Rows as the network keeps them: [T, heads, D] of queries, and of keys and values.
class Ours {
 public:
  explicit Ours(const Shape& shape)
      : shape_(shape),
        tokens_(shape.sequences * shape.length),
        q_(at::randn({tokens_, shape.heads * shape.d})),
        k_(at::randn({tokens_, shape.kv_heads * shape.d})),
        v_(at::randn({tokens_, shape.kv_heads * shape.d})),
        dout_(at::randn(q_.sizes())),
        out_(at::empty_like(q_)),
        dq_(at::empty_like(q_)),
        dk_(at::empty_like(k_)),
        dv_(at::empty_like(v_)),
        lse_(at::empty({shape.heads * tokens_})),
        scratch_(AttentionScratch(shape.length, shape.d)) {}

  void Pass(Times* times) {
    const double start = Seconds();
    ForEachGroup([&](const AttentionGroup& group, int64_t q, int64_t, int64_t lse) {
      AttentionForward(group, scratch_.data(), out_.data_ptr<float>() + q, Width(),
                       lse_.data_ptr<float>() + lse);
    });
    const double middle = Seconds();
    ForEachGroup([&](const AttentionGroup& group, int64_t q, int64_t k, int64_t lse) {
      AttentionBackward(group, out_.data_ptr<float>() + q, Width(), lse_.data_ptr<float>() + lse,
                        dout_.data_ptr<float>() + q, Width(), scratch_.data(),
                        dq_.data_ptr<float>() + q, dk_.data_ptr<float>() + k,
                        dv_.data_ptr<float>() + k, Width());
    });
    times->Take(middle - start, Seconds() - middle);
  }

 private:
  int64_t Width() const { return shape_.heads * shape_.d; }
  template <typename Act>
  void ForEachGroup(const Act& act) {
    const int64_t per_group = shape_.heads / shape_.kv_heads, keys = shape_.kv_heads * shape_.d;
    for (int64_t s = 0; s < shape_.sequences; ++s) {
      for (int64_t g = 0; g < shape_.kv_heads; ++g) {
        const int64_t q = s * shape_.length * Width() + g * per_group * shape_.d,
                      k = s * shape_.length * keys + g * shape_.d;
        act({per_group, shape_.d, q_.data_ptr<float>() + q, k_.data_ptr<float>() + k,
             v_.data_ptr<float>() + k, Width(), keys, keys, shape_.mask},
            q, k, (s * shape_.heads + g * per_group) * shape_.length);
      }
    }
  }

  const Shape shape_;
  const int64_t tokens_;
  at::Tensor q_, k_, v_, dout_, out_, dq_, dk_, dv_, lse_;
  FloatBuffer scratch_;
};

class Theirs {
 public:
  explicit Theirs(const Shape& shape) {
    const auto leaf = [&] {
      return at::randn({shape.sequences, shape.heads, shape.length, shape.d}).requires_grad_(true);
    };
    q_ = leaf(), k_ = leaf(), v_ = leaf();
    dout_ = at::randn(q_.sizes());
  }
  void Pass(Times* times) {
    for (at::Tensor* leaf : {&q_, &k_, &v_}) leaf->mutable_grad() = at::Tensor();
    const double start = Seconds();
    const at::Tensor out = at::scaled_dot_product_attention(q_, k_, v_, {}, 0.0, true);
    const double middle = Seconds();
    out.backward(dout_);
    times->Take(middle - start, Seconds() - middle);
  }

 private:
  at::Tensor q_, k_, v_, dout_;
};

void Compare(const Shape& shape, double seconds) {
  Times ours, theirs;
  Ours a(shape);
  Theirs b(shape);
  const double end = Seconds() + seconds;
  do {
    a.Pass(&ours);
    b.Pass(&theirs);
  } while (Seconds() < end);
  const double pairs =
      static_cast<double>(shape.sequences * shape.heads * VisiblePairs(shape.mask));
  ours.Print("tritter", shape, pairs);
  theirs.Print("libtorch", shape, pairs);
  std::printf("%-28s ratio     forward %.2f x as fast, backward %.2f x, both %.2f x\n", shape.name,
              theirs.forward / ours.forward, theirs.backward / ours.backward,
              (theirs.forward + theirs.backward) / (ours.forward + ours.backward));
}

void Measure(const Shape& shape, double seconds) {
  Times times;
  Ours a(shape);
  const double end = Seconds() + seconds;
  do a.Pass(&times);
  while (Seconds() < end);
  times.Print("tritter", shape,
              static_cast<double>(shape.sequences * shape.heads * VisiblePairs(shape.mask)));
}

void Run(double seconds) {
  at::set_num_threads(1);
  std::printf("kernels %s\n", SupportedAttentionOps().back()->name);
  Compare({"GPT-2 124M, 12 heads, L 1024", 1, 12, 12, 1024, 64, {.length = 1024}}, seconds);
  Compare({"nano, 16 x 4 heads, L 128", 16, 4, 4, 128, 32, {.length = 128}}, seconds);
  Compare({"1B, 4 heads, D 128, L 2048", 1, 4, 4, 2048, 128, {.length = 2048}}, seconds);
  for (const int64_t length : {2048, 4096, 8192}) {
    const std::string name = "window 256, L " + std::to_string(length);
    Measure({name.c_str(), 1, 4, 2, length, 64, {.length = length, .window = 256}}, seconds);
  }
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  double seconds = 1.0;
  tritter::CommandLine app("Attention of training against LibTorch's");
  app.AddFlag("--seconds", &seconds, "per line").Positive();
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;
  tritter::Run(seconds);
  return 0;
}
