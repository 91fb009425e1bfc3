// Every kernel of inference against the CPU's functions on the same numbers, bit for bit: on a GPU,
// and on this CPU through the emulation.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/ternary_layout.h"
#include "kernels/cuda/ternary_products.h"
#include "kernels/float_ops.h"
#include "kernels/packing.h"
#include "kernels/row_quantised.h"

namespace tritter::cuda {
namespace {

constexpr float kEps = 1e-5f;

// An array in the device's memory.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : size_(values.size()) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), std::max<size_t>(bytes(), 1)),
              cudaSuccess);
    EXPECT_EQ(cudaMemcpyAsync(data_, values.data(), bytes(), cudaMemcpyHostToDevice, nullptr),
              cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  }
  explicit OnDevice(int64_t size) : OnDevice(std::vector<T>(static_cast<size_t>(size))) {}
  ~OnDevice() { (void)cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  T* get() const { return data_; }
  std::vector<T> Read() const {
    std::vector<T> values(size_);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_EQ(cudaMemcpyAsync(values.data(), data_, bytes(), cudaMemcpyDeviceToHost, nullptr),
              cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
    return values;
  }

 private:
  size_t bytes() const { return size_ * sizeof(T); }
  const size_t size_;
  T* data_ = nullptr;
};

std::vector<float> Floats(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}
// NaN equals NaN.
template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// --- products -----------------------------------------------------------------------------------
struct Product {
  int64_t rows, cols;
  int tokens;
};

class TernaryProducts : public ::testing::TestWithParam<Product> {
 protected:
  void SetUp() override {
    const auto [rows, cols, tokens] = GetParam();
    std::mt19937 random(static_cast<unsigned>(rows + cols + tokens));
    std::vector<int8_t> q(static_cast<size_t>(rows * cols));
    for (int8_t& code : q) code = static_cast<int8_t>(static_cast<int>(random() % 3) - 1);
    std::vector<uint8_t> logical(static_cast<size_t>(rows * LogicalRowBytes(cols)));
    PackLogical(q.data(), rows, cols, logical.data());
    tiled_.resize(static_cast<size_t>(TiledBytes(rows, cols)));
    LogicalToTiled(logical.data(), rows, cols, tiled_.data());
    stride_ = GpuColTiles(cols) * kGpuTileCols;
    x_.assign(static_cast<size_t>(stride_ * tokens), 0);
    for (int t = 0; t < tokens; ++t) {
      sums_.push_back(0);
      for (int64_t c = 0; c < cols; ++c) {
        // Extremes too.
        const int v = static_cast<int>(random() % 256) - 128;
        x_[static_cast<size_t>(t * stride_ + c)] = static_cast<int8_t>(t % 3 == 2 ? -128 : v);
        sums_.back() += x_[static_cast<size_t>(t * stride_ + c)];
      }
      for (int64_t r = 0; r < rows; ++r) {
        int32_t sum = 0;
        for (int64_t c = 0; c < cols; ++c)
          sum += q[static_cast<size_t>(r * cols + c)] * x_[static_cast<size_t>(t * stride_ + c)];
        expected_.push_back(sum);
      }
    }
    scales_ = Floats(rows, 1);
    inv_ = Floats(tokens, 2);
  }

  using Kernel = void (*)(const TernaryWeights&, const QuantisedRows&, const ProductOutput&,
                          cudaStream_t);
  std::vector<Kernel> Kernels() const {
    std::vector<Kernel> kernels = {&MatrixProduct};
    if (GetParam().tokens <= kVectorRows) kernels.push_back(&VectorProduct);
    return kernels;
  }
  template <typename T>
  std::vector<T> Run(Kernel kernel, const GpuTernaryBuilder& builder, int64_t rows,
                     Epilogue epilogue, const std::vector<T>& before, int64_t stride) {
    const OnDevice<uint32_t> words(builder.words());
    const OnDevice<float> scales(builder.scales()), inv(inv_);
    const OnDevice<int8_t> x(x_);
    const OnDevice<int32_t> sums(sums_);
    const OnDevice<T> out(before);
    kernel({words.get(), scales.get(), static_cast<int>(rows), static_cast<int>(GetParam().cols)},
           {x.get(), sums.get(), inv.get(), static_cast<int>(stride_), GetParam().tokens},
           {out.get(), static_cast<int>(stride), epilogue}, nullptr);
    return out.Read();
  }

  std::vector<uint8_t> tiled_;
  int64_t stride_ = 0;
  std::vector<int8_t> x_;
  std::vector<int32_t> sums_, expected_;
  std::vector<float> scales_, inv_;
};

TEST_P(TernaryProducts, AreExactAndScaledAsOnTheCpu) {
  const auto [rows, cols, tokens] = GetParam();
  GpuTernaryBuilder builder(rows, cols);
  builder.Add(tiled_.data(), rows, scales_.data(), true, 0);
  const DequantiseTile tile = {expected_.data(), rows, tokens,     rows,
                               scales_.data(),   true, inv_.data()};
  const std::vector<float> before = Floats(rows * tokens, 3);
  std::vector<float> stored(before.size()), added = before;
  DequantiseInto(tile, false, stored.data(), rows);
  DequantiseInto(tile, true, added.data(), rows);
  for (const Kernel kernel : Kernels()) {
    EXPECT_EQ(
        Run(kernel, builder, rows, Epilogue::kSums, std::vector<int32_t>(before.size()), rows),
        expected_);
    EXPECT_EQ(Run(kernel, builder, rows, Epilogue::kStore, before, rows), stored);
    EXPECT_EQ(Run(kernel, builder, rows, Epilogue::kAdd, before, rows), added);
  }
}

TEST_P(TernaryProducts, GatesAreAppliedAsOnTheCpu) {
  const auto [rows, cols, tokens] = GetParam();
  const int64_t n = rows;
  GpuTernaryBuilder builder(GpuHalvesRows(n), cols);
  const std::vector<float> up_scales = Floats(1, 4);
  builder.AddHalf(tiled_.data(), n, scales_.data(), true, 0);
  builder.AddHalf(tiled_.data(), n, up_scales.data(), false, 1);
  const DequantiseTile gate = {expected_.data(), n, tokens, n, scales_.data(), true, inv_.data()},
                       up = {expected_.data(), n, tokens, n, up_scales.data(), false, inv_.data()};
  std::vector<float> squared(static_cast<size_t>(n * tokens)), silu(squared.size());
  DequantiseGated(gate, up, squared.data(), n);
  DequantiseSiluGated(gate, up, silu.data(), n);
  const std::vector<float> before(squared.size());
  for (const Kernel kernel : Kernels()) {
    EXPECT_EQ(Run(kernel, builder, GpuHalvesRows(n), Epilogue::kGated, before, n), squared);
    EXPECT_EQ(Run(kernel, builder, GpuHalvesRows(n), Epilogue::kSiluGated, before, n), silu);
  }
}

// Tails in rows, columns and tokens; more tiles than stages; several blocks.
INSTANTIATE_TEST_SUITE_P(Shapes, TernaryProducts,
                         ::testing::Values(Product{16, 128, 1}, Product{40, 40, 1},
                                           Product{33, 300, 2}, Product{130, 513, 3},
                                           Product{7, 16, 4}, Product{64, 1100, 5},
                                           Product{260, 200, 8}, Product{20, 700, 9},
                                           Product{48, 2050, 17}, Product{129, 130, 64},
                                           Product{150, 90, 65}, Product{16, 640, 130}),
                         [](const auto& info) {
                           return std::to_string(info.param.rows) + "x" +
                                  std::to_string(info.param.cols) + "x" +
                                  std::to_string(info.param.tokens);
                         });

// --- rows ---------------------------------------------------------------------------------------
TEST(RowKernels, NormAndQuantiseAsOnTheCpu) {
  for (const int n : {1, 13, 40, 256, 300, 2050}) {
    constexpr int kRows = 5;
    const int stride = (n + 127) / 128 * 128;
    std::vector<float> x = Floats(int64_t{kRows} * n, static_cast<unsigned>(n));
    const std::vector<float> first = Floats(n, 8), norm = Floats(n, 9);
    for (int i = 0; i < n; ++i) x[2 * n + i] = 0;  // nothing at all
    x[3 * n] = 1e20f;
    x[4 * n + n / 2] = NAN;
    for (int which = 0; which < 4; ++which) {
      const bool has_first = which & 1, has_norm = which & 2;
      std::vector<float> expected_x = x, inv(kRows);
      std::vector<int8_t> codes(static_cast<size_t>(kRows * stride));
      if (has_first) RmsNormRows(x.data(), first.data(), kEps, kRows, n, expected_x.data());
      if (has_norm) {
        RmsNormQuantiseRows(expected_x.data(), norm.data(), kEps, kRows, n, codes.data(), stride,
                            inv.data());
      } else {
        QuantiseRows(expected_x.data(), kRows, n, codes.data(), stride, inv.data());
      }
      std::vector<int32_t> sums;
      for (int t = 0; t < kRows; ++t) {
        sums.push_back(0);
        for (int i = 0; i < n; ++i) sums.back() += codes[static_cast<size_t>(t * stride + i)];
      }
      const OnDevice<float> device_x(x), device_first(first), device_norm(norm), device_inv(kRows);
      const OnDevice<int8_t> device_codes(std::vector<int8_t>(codes.size(), 55));
      const OnDevice<int32_t> device_sums(kRows);
      NormQuantiseRows(
          device_x.get(), kRows, n,
          {has_first ? device_first.get() : nullptr, has_norm ? device_norm.get() : nullptr, kEps,
           device_codes.get(), device_sums.get(), device_inv.get(), stride},
          nullptr);
      const std::vector<float> got_x = device_x.Read(), got_inv = device_inv.Read();
      const std::vector<int8_t> got = device_codes.Read();
      for (int t = 0; t < 4; ++t) {  // the last row is NaN: its bits are nobody's business
        for (int i = 0; i < n; ++i) ASSERT_EQ(got_x[t * n + i], expected_x[t * n + i]) << n;
        for (int i = 0; i < stride; ++i)
          ASSERT_EQ(got[t * stride + i], codes[t * stride + i]) << n << ", " << which;
        EXPECT_EQ(got_inv[t], inv[t]);
        EXPECT_EQ(device_sums.Read()[t], sums[t]);
      }
      for (int i = n; i < stride; ++i) EXPECT_EQ(got[4 * stride + i], 0);
    }
  }
}

// Rows of floats as the given type has them, padded for the device, and what the CPU makes of them.
struct Table {
  Table(RowType type, int64_t rows, int64_t cols)
      : type(type), rows(rows), cols(cols), pitch(GpuRowPitch(type, cols)) {
    const std::vector<float> w = Floats(rows * cols, 12);
    bytes.assign(static_cast<size_t>(rows * pitch), 0);
    values.resize(w.size());
    for (int64_t r = 0; r < rows; ++r) {
      uint8_t* const to = &bytes[static_cast<size_t>(r * pitch)];
      const float* const from = &w[static_cast<size_t>(r * cols)];
      float* const back = &values[static_cast<size_t>(r * cols)];
      if (type == RowType::kF32) {
        std::memcpy(to, from, static_cast<size_t>(cols) * 4);
        std::memcpy(back, from, static_cast<size_t>(cols) * 4);
      } else if (type == RowType::kBf16) {
        for (int64_t c = 0; c < cols; ++c) {
          std::memcpy(to + 2 * c, reinterpret_cast<const uint8_t*>(from + c) + 2, 2);
          std::memset(back + c, 0, 4);
          std::memcpy(reinterpret_cast<uint8_t*>(back + c) + 2, to + 2 * c, 2);
        }
      } else {
        scales.push_back(QuantiseRowCodes(format(), from, cols, to));
        ExpandRow(format(), to, scales.back(), cols, back);
      }
    }
  }
  RowFormat format() const { return type == RowType::kInt8 ? RowFormat::kInt8 : RowFormat::kInt4; }
  bool quantised() const { return type == RowType::kInt8 || type == RowType::kInt4; }

  RowType type;
  int64_t rows, cols, pitch;
  std::vector<uint8_t> bytes;
  std::vector<float> scales, values;
};

TEST(RowKernels, EmbeddingAndHeadOfEveryTypeAsOnTheCpu) {
  for (const RowType type : {RowType::kF32, RowType::kBf16, RowType::kInt8, RowType::kInt4}) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{270, 40}, {131, 328}, {65, 13}}) {
      const Table table(type, rows, cols);
      const OnDevice<uint8_t> data(table.bytes);
      const OnDevice<float> scales(table.scales);
      const RowTable device = {type,
                               data.get(),
                               scales.get(),
                               table.pitch,
                               static_cast<int>(rows),
                               static_cast<int>(cols)};
      const int n = static_cast<int>(cols);
      const std::vector<int32_t> tokens = {0, 7, static_cast<int32_t>(rows - 1), 7};
      const OnDevice<int32_t> device_tokens(tokens);
      const OnDevice<float> embedded(4 * cols);
      EmbedRows(device, device_tokens.get(), 4, embedded.get(), nullptr);
      const std::vector<float> got = embedded.Read();
      for (int64_t t = 0; t < 4; ++t) {
        for (int64_t c = 0; c < cols; ++c)
          ASSERT_EQ(got[t * cols + c], table.values[tokens[t] * cols + c]);
      }

      for (const int count : {1, 2, 5, 8, 11}) {
        for (const bool has_first : {false, true}) {
          const std::vector<float> x = Floats(12 * cols, 20), first = Floats(cols, 21),
                                   norm = Floats(cols, 22);
          std::vector<int32_t> from;
          for (int i = 0; i < count; ++i) from.push_back((i * 5 + 3) % 12);
          std::vector<float> final_x, logits(static_cast<size_t>(count * rows));
          const int64_t digits = SplitStride(cols);
          std::vector<int8_t> hi(static_cast<size_t>(count * digits)), lo(hi.size());
          std::vector<float> inv(static_cast<size_t>(count));
          for (int i = 0; i < count; ++i) {
            std::vector<float> row(x.begin() + from[i] * cols, x.begin() + (from[i] + 1) * cols);
            if (has_first) RmsNormRows(row.data(), first.data(), kEps, 1, cols, row.data());
            RmsNormRows(row.data(), norm.data(), kEps, 1, cols, row.data());
            inv[i] = SplitActivations(row.data(), cols, &hi[i * digits], &lo[i * digits]);
            final_x.insert(final_x.end(), row.begin(), row.end());
          }
          if (table.quantised()) {
            MultiplyQuantisedRows(table.format(), table.bytes.data(), table.scales.data(), 0, cols,
                                  {hi.data(), lo.data(), inv.data(), count}, logits.data(), rows);
            for (int64_t r = 0; r < rows; ++r)  // one at a time: the device's rows are padded
              MultiplyQuantisedRows(table.format(), &table.bytes[r * table.pitch], &table.scales[r],
                                    1, cols, {hi.data(), lo.data(), inv.data(), count}, &logits[r],
                                    rows);
          } else {
            DotRows(table.values.data(), rows, final_x.data(), cols, count, cols, logits.data(),
                    rows);
          }
          const int pitch = static_cast<int>(GpuRowPitch(RowType::kF32, cols) / 4);
          const OnDevice<float> device_x(x), device_first(first), device_norm(norm),
              device_final(count * pitch), device_inv(count), device_logits(count * rows);
          const OnDevice<int32_t> device_from(from);
          const OnDevice<int8_t> device_hi(count * digits), device_lo(count * digits);
          const OnDevice<int2> device_sums(count);
          const FinalRows finals = {device_from.get(),
                                    has_first ? device_first.get() : nullptr,
                                    device_norm.get(),
                                    kEps,
                                    device_final.get(),
                                    pitch,
                                    table.quantised() ? device_hi.get() : nullptr,
                                    device_lo.get(),
                                    device_inv.get(),
                                    device_sums.get(),
                                    static_cast<int>(digits)};
          NormFinalRows(device_x.get(), count, n, finals, nullptr);
          const std::vector<float> got_final = device_final.Read();
          for (int i = 0; i < count; ++i) {
            for (int64_t c = 0; c < pitch; ++c)
              ASSERT_EQ(got_final[i * pitch + c], c < cols ? final_x[i * cols + c] : 0.0f);
          }
          if (table.quantised()) {
            EXPECT_EQ(device_hi.Read(), hi);
            EXPECT_EQ(device_lo.Read(), lo);
          }
          HeadRows(device, finals, 0, count, device_logits.get(), nullptr);
          EXPECT_EQ(device_logits.Read(), logits) << static_cast<int>(type) << ", " << cols;
          // A part that does not begin with the first row.
          if (count < 3) continue;
          HeadRows(device, finals, 2, count - 2, device_logits.get(), nullptr);
          const std::vector<float> part = device_logits.Read();
          for (int64_t i = 0; i < (count - 2) * rows; ++i) ASSERT_EQ(part[i], logits[2 * rows + i]);
        }
      }
    }
  }
}

TEST(RowKernels, AHeadSaysSoOfRowsThatAreNoNumbers) {
  const Table table(RowType::kInt8, 20, 30);
  const OnDevice<uint8_t> data(table.bytes);
  const OnDevice<float> scales(table.scales);
  for (const float bad : {NAN, INFINITY}) {
    std::vector<float> x = Floats(60, 1);
    x[31] = bad;
    const OnDevice<float> device_x(x), norm(std::vector<float>(30, 1.0f)), final_x(64), inv(2),
        logits(40);
    const OnDevice<int32_t> from(std::vector<int32_t>{0, 1});
    const OnDevice<int8_t> hi(256), lo(256);
    const OnDevice<int2> sums(2);
    const FinalRows finals = {from.get(), nullptr,   norm.get(), kEps, final_x.get(), 32, hi.get(),
                              lo.get(),   inv.get(), sums.get(), 128};
    NormFinalRows(device_x.get(), 2, 30, finals, nullptr);
    HeadRows({RowType::kInt8, data.get(), scales.get(), table.pitch, 20, 30}, finals, 0, 2,
             logits.get(), nullptr);
    const std::vector<float> got = logits.Read();
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(std::isfinite(got[i]));
      EXPECT_TRUE(std::isnan(got[20 + i]));
    }
  }
}

// --- heads --------------------------------------------------------------------------------------
// Sequences in pages of one pool, in no order, as the CPU and as the device has them.
struct Pages {
  Pages(const HeadShape& shape, KvFormat format, const std::vector<int>& lengths)
      : head_bytes(KvPageBytes(format, shape.dim)), page_bytes(head_bytes * shape.kv_heads + 64) {
    int pages = 1;  // the first is nobody's
    for (const int length : lengths) {
      first_page.push_back(static_cast<int32_t>(ids.size()));
      for (int p = 0; p * 16 < length; ++p, ++pages) ids.push_back(0);
    }
    for (size_t i = 0; i < ids.size(); ++i)
      ids[i] = static_cast<int32_t>(1 + (i * 7 + 3) % ids.size());
    bool distinct = ids.size() % 7 != 0;
    if (!distinct) {
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(ids.size() - i);
    }
    pool.assign(static_cast<size_t>(pages * page_bytes), 0);
  }
  uint8_t* Page(int sequence, int page) {
    return &pool[static_cast<size_t>(ids[static_cast<size_t>(first_page[sequence] + page)] *
                                     page_bytes)] +
           64;
  }

  int64_t head_bytes, page_bytes;
  std::vector<int32_t> first_page, ids;
  std::vector<uint8_t> pool;
};

struct HeadCase {
  HeadShape shape;
  KvFormat format;
};

class HeadKernels : public ::testing::TestWithParam<HeadCase> {};

TEST_P(HeadKernels, NormRotateAndStoreTheBytesOfTheCpu) {
  const auto [shape, format] = GetParam();
  const int d = shape.dim, width = shape.row();
  // Rows of three sequences; neighbours in one page, and over its end; an idle row.
  const std::vector<std::pair<int, int>> where = {{0, 0},  {0, 1},  {0, 2}, {1, 14},
                                                  {1, 15}, {1, 16}, {2, 9}, {-1, -1}};
  Pages pages(shape, format, {3, 17, 10});
  std::vector<float> cos(20 * (d / 2)), sin(cos.size());
  RopeTable(10000, d, 0, 20, cos.data(), sin.data());
  for (const bool normed : {false, true}) {
    std::vector<float> qkv = Floats(static_cast<int64_t>(where.size()) * width, 30);
    for (int i = 0; i < d; ++i) qkv[(shape.heads + shape.kv_heads) * d + i] = 2.5f;  // constant
    qkv[2 * width + (shape.heads + shape.kv_heads) * d] = 1e6f;                      // beyond FP16
    qkv[3 * width + (shape.heads + shape.kv_heads) * d] = NAN;
    const std::vector<float> q_norm = Floats(d, 31), k_norm = Floats(d, 32);
    std::vector<int32_t> positions, first_page;
    for (const auto& [sequence, position] : where) {
      positions.push_back(position);
      first_page.push_back(sequence < 0 ? 0 : pages.first_page[sequence]);
    }
    const OnDevice<float> device_qkv(qkv), device_q(q_norm), device_k(k_norm), device_cos(cos),
        device_sin(sin);
    const OnDevice<int32_t> device_positions(positions), device_first(first_page),
        device_ids(pages.ids);
    const OnDevice<uint8_t> device_pool(pages.pool);
    PlaceAndStore(
        {shape, device_qkv.get(), format, 64, pages.head_bytes, normed ? device_q.get() : nullptr,
         normed ? device_k.get() : nullptr, device_cos.get(), device_sin.get(), kEps},
        {device_positions.get(), device_first.get(), device_ids.get(), device_pool.get(),
         pages.page_bytes, static_cast<int>(where.size())},
        nullptr);
    std::vector<float> expected = qkv;
    Pages stored = pages;
    for (size_t t = 0; t + 1 < where.size(); ++t) {
      const auto [sequence, position] = where[t];
      float* const row = &expected[t * static_cast<size_t>(width)];
      const auto turn = [&](float* v, const std::vector<float>& norm) {
        if (normed) RmsNormRows(v, norm.data(), kEps, 1, d, v);
        RopeInPlace(v, &cos[position * (d / 2)], &sin[position * (d / 2)], d);
      };
      for (int h = 0; h < shape.heads; ++h) turn(row + h * d, q_norm);
      for (int h = 0; h < shape.kv_heads; ++h) {
        float* const k = row + (shape.heads + h) * d;
        turn(k, k_norm);
        KvStore(format, k, k + shape.kv_heads * d, d, position % 16,
                stored.Page(sequence, position / 16) + h * pages.head_bytes);
      }
    }
    const std::vector<float> got = device_qkv.Read();
    for (size_t t = 0; t + 1 < where.size(); ++t) {
      for (int i = 0; i < shape.heads * d; ++i)
        ASSERT_EQ(got[t * width + i], expected[t * width + i]) << t << ", " << i;
    }
    EXPECT_TRUE(SameBits(device_pool.Read(), stored.pool)) << "normed " << normed;
  }
}

// Rows at the ends of sequences of these lengths; `rows` neighbours of each.
struct Attention {
  std::vector<float> expected, actual;
};
Attention AttendBoth(const HeadShape& shape, KvFormat format, const std::vector<int>& lengths,
                     int rows) {
  const int d = shape.dim, width = shape.row(), group = shape.heads / shape.kv_heads;
  const BundleShape bundle = BundleShapeOf(shape);
  Pages pages(shape, format, lengths);
  for (size_t s = 0; s < lengths.size(); ++s) {
    for (int h = 0; h < shape.kv_heads; ++h) {
      const std::vector<float> kv = Floats(int64_t{2} * d * lengths[s], static_cast<unsigned>(s));
      for (int p = 0; p < lengths[s]; ++p)
        KvStore(format, &kv[p * 2 * d], &kv[p * 2 * d + d], d, p % 16,
                pages.Page(static_cast<int>(s), p / 16) + h * pages.head_bytes);
    }
  }
  std::vector<int32_t> positions, first_page;
  std::vector<RowBundle> bundles;
  int longest = 0;
  for (size_t s = 0; s < lengths.size(); ++s) {
    longest = std::max(longest, lengths[s]);
    for (int r = std::min(rows, lengths[s]); r > 0; --r) {
      const int t = static_cast<int>(positions.size());
      const bool goes_on = r < std::min(rows, lengths[s]);
      if (goes_on && bundles.back().count < bundle.rows) {
        ++bundles.back().count;
      } else {
        bundles.push_back({t, 1});
      }
      positions.push_back(lengths[s] - r);
      first_page.push_back(pages.first_page[s]);
    }
  }
  const int count = static_cast<int>(positions.size());
  const std::vector<float> qkv = Floats(int64_t{count} * width, 40);
  Attention both;
  both.expected.resize(static_cast<size_t>(count * shape.heads * d));
  std::vector<float> scratch(static_cast<size_t>(KvScratchFloats(d, longest, 1)));
  for (int t = 0; t < count; ++t) {
    const int sequence = static_cast<int>(
        std::find(pages.first_page.begin(), pages.first_page.end(), first_page[t]) -
        pages.first_page.begin());
    std::vector<const uint8_t*> table;
    for (int p = 0; p * 16 <= positions[t]; ++p) table.push_back(pages.Page(sequence, p));
    for (int head = 0; head < shape.heads; ++head) {
      KvQueries queries = {1, qkv.data(), both.expected.data(), {}, {}, {}};
      queries.q_at[0] = t * width + head * d;
      queries.out_at[0] = (t * shape.heads + head) * d;
      queries.seen[0] = {0, 0, positions[t] + 1};
      AttendKv({format, table.data(), head / group * pages.head_bytes, d}, queries, scratch.data());
    }
  }
  const int splits = (longest - 1) / kSplitPositions + 1;
  const OnDevice<float> device_qkv(qkv),
      partial(std::max<int64_t>(PartialFloats(shape.heads, d, count, splits), 1)),
      out(static_cast<int64_t>(both.expected.size()));
  const OnDevice<int32_t> device_positions(positions), device_first(first_page),
      device_ids(pages.ids);
  const OnDevice<RowBundle> device_bundles(bundles);
  const OnDevice<uint8_t> device_pool(pages.pool);
  Attend({shape, device_qkv.get(), format, 64, pages.head_bytes, nullptr, nullptr, nullptr, nullptr,
          kEps},
         {device_positions.get(), device_first.get(), device_ids.get(), device_pool.get(),
          pages.page_bytes, count},
         {device_bundles.get(), static_cast<int>(bundles.size()), 0, count, splits, partial.get(),
          out.get()},
         nullptr);
  both.actual = out.Read();
  return both;
}

TEST_P(HeadKernels, AttendWithTheBitsOfTheCpuWithinOneSplit) {
  const auto [shape, format] = GetParam();
  const Attention both = AttendBoth(shape, format, {1, 16, 17, 100, 255, 256}, 9);
  EXPECT_EQ(both.actual, both.expected);
}

TEST_P(HeadKernels, AttendOverManySplitsAsNearAsRounding) {
  const auto [shape, format] = GetParam();
  const Attention both = AttendBoth(shape, format, {257, 700, 40, 1030}, 5);
  for (size_t i = 0; i < both.expected.size(); ++i)
    ASSERT_NEAR(both.actual[i], both.expected[i], 2e-6) << i;
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, HeadKernels,
    ::testing::Values(HeadCase{{4, 2, 10}, KvFormat::kF32}, HeadCase{{4, 2, 10}, KvFormat::kBf16},
                      HeadCase{{4, 2, 10}, KvFormat::kInt4}, HeadCase{{8, 1, 64}, KvFormat::kF32},
                      HeadCase{{10, 1, 34}, KvFormat::kInt4}, HeadCase{{3, 3, 64}, KvFormat::kBf16},
                      HeadCase{{5, 1, 128}, KvFormat::kInt4}),
    [](const auto& info) {
      return std::to_string(info.param.shape.heads) + "over" +
             std::to_string(info.param.shape.kv_heads) + "of" +
             std::to_string(info.param.shape.dim) + "format" +
             std::to_string(static_cast<int>(info.param.format));
    });

}  // namespace
}  // namespace tritter::cuda
