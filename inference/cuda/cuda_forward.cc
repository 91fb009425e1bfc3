#include "inference/cuda/cuda_forward.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/row_quantised.h"

namespace tritter {
namespace {

constexpr int64_t kSmallestRows = kMostGraphRows;  // room for every graph without growing

// Arrays of inputs, each for `capacity` rows.
enum Input { kTokens, kPositions, kFirstPage, kFinalRows, kBundles, kInputs = kBundles + 2 };

int64_t DigitsStride(int64_t hidden) { return SplitStride(hidden); }

}  // namespace

// What the kernels of one step are started with.
struct CudaForward::Step {
  int rows, splits, bundles;
  int finals, head_rows;  // rows behind the final norm; those that the head is started for
  std::vector<cuda::RowBundle> host_bundles;
};

CudaForward::CudaForward(const PackedModel& model, const CudaForwardOptions& options,
                         cudaStream_t stream)
    : config_(model.config()),
      model_(model),
      options_(options),
      stream_(stream),
      layout_(config_, options.kv_format),
      shape_{static_cast<int>(config_.heads), static_cast<int>(config_.kv_heads),
             static_cast<int>(config_.head_dim)},
      bundle_(cuda::BundleShapeOf(shape_)),
      pre_norm_(config_.ffn_pre_norm()),
      split_head_(RowFormatOf(model.head().type).has_value()),
      logits_part_(std::max<int64_t>(options.logit_floats / config_.vocab, 1)),
      weights_(stream),
      pool_memory_(stream),
      rows_memory_(stream),
      page_ids_memory_(stream) {}

CudaForward::~CudaForward() {
  (void)cudaSetDevice(options_.device);
  (void)cudaStreamSynchronize(stream_);
  DropGraphs();
  layers_.reset();
  for (DeviceMemory* memory : {&weights_, &pool_memory_, &rows_memory_, &page_ids_memory_})
    memory->Clear();
  (void)cudaStreamDestroy(stream_);
}

absl::StatusOr<std::unique_ptr<CudaForward>> CudaForward::Create(
    const PackedModel& model, const CudaForwardOptions& options) {
  if (model.config().head_dim > cuda::kMaxHeadDim) {
    return absl::UnimplementedError(absl::StrCat(
        "heads of this model are ", model.config().head_dim, " wide, on a GPU at most ",
        cuda::kMaxHeadDim, " are computed; serve it with --device cpu"));
  }
  if (model.config().attention != AttentionMode::kCausal) {
    return absl::UnimplementedError(absl::StrCat(
        "attention ", AttentionModeName(model.config().attention),
        " is not computed on a GPU, only causal is; serve the model with --device cpu"));
  }
  RETURN_IF_ERROR(CudaStatus(cudaSetDevice(options.device), "being chosen"));
  cudaStream_t stream = nullptr;
  RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  std::unique_ptr<CudaForward> forward(new CudaForward(model, options, stream));
  RETURN_IF_ERROR(forward->Prepare());
  return forward;
}

absl::Status CudaForward::Prepare() {
  ASSIGN_OR_RETURN(
      const DevicePlan plan,
      PlanDeviceWeights(config_,
                        DeviceOuterBytes(config_, model_.embedding().type, model_.head().type),
                        options_.streaming));
  const int64_t bytes = layout_.page_bytes * options_.kv_pages;
  RETURN_IF_ERROR(pool_memory_.Allocate(bytes, "the KV cache", &pool_));
  RETURN_IF_ERROR(CudaStatus(cudaMemsetAsync(pool_, 0, static_cast<size_t>(bytes), stream_),
                             "clearing the KV cache"));
  ASSIGN_OR_RETURN(outer_, UploadOuter(model_, &weights_));
  ASSIGN_OR_RETURN(layers_, DeviceLayers::Create(model_, plan, &weights_, stream_));
  RETURN_IF_ERROR(CheckProducts(model_, layers_.get(), stream_));
  return EnsureRows(kSmallestRows, options_.kv_pages);
}

// Pages are handed out one after the other and never given back: KvPagePool keeps them.
KvMemory CudaForward::kv_memory() {
  return {[this](size_t) -> void* {
            return pages_given_ < options_.kv_pages ? pool_ + layout_.page_bytes * pages_given_++
                                                    : nullptr;
          },
          [](void*) {}};
}

void CudaForward::DropGraphs() {
  for (const auto& [shape, graph] : graphs_) (void)cudaGraphExecDestroy(graph);
  graphs_.clear();
}

// Memory that graphs know by address grows by doubling.
absl::Status CudaForward::EnsureRows(int64_t rows, int64_t page_ids) {
  if (page_ids > page_capacity_) {
    const int64_t n = std::max(2 * page_capacity_, page_ids);
    DropGraphs();
    page_ids_memory_.Clear();
    page_capacity_ = 0;
    RETURN_IF_ERROR(page_ids_memory_.Allocate(n, "page tables", &page_ids_));
    RETURN_IF_ERROR(page_ids_memory_.AllocatePinned(n, "page tables", &host_page_ids_));
    page_capacity_ = n;
  }
  if (rows <= row_capacity_) return absl::OkStatus();
  const int64_t n = std::max(2 * row_capacity_, rows);
  DropGraphs();
  rows_memory_.Clear();
  row_capacity_ = 0;
  const int64_t h = config_.hidden, query = config_.heads * config_.head_dim;
  const int64_t pitch = cuda::GpuRowPitch(cuda::RowType::kF32, h) / 4, digits = DigitsStride(h);
  const int64_t logits = std::min(n, logits_part_) * config_.vocab;
  const auto allocate = [&](int64_t count, auto** out) {
    return rows_memory_.Allocate(count, "rows of a step", out);
  };
  RETURN_IF_ERROR(allocate(n * h, &x_));
  RETURN_IF_ERROR(allocate(n * shape_.row(), &qkv_));
  RETURN_IF_ERROR(allocate(n * query, &heads_));
  RETURN_IF_ERROR(allocate(n * config_.ffn, &inner_));
  RETURN_IF_ERROR(allocate(n * DeviceRowStride(std::max({h, query, config_.ffn})), &x8_));
  RETURN_IF_ERROR(allocate(n, &sums_));
  RETURN_IF_ERROR(allocate(n, &inv_));
  RETURN_IF_ERROR(allocate(n * pitch, &final_));
  if (split_head_) {
    RETURN_IF_ERROR(allocate(n * digits, &hi_));
    RETURN_IF_ERROR(allocate(n * digits, &lo_));
    RETURN_IF_ERROR(allocate(n, &digits_inv_));
    RETURN_IF_ERROR(allocate(n, &digit_sums_));
  }
  RETURN_IF_ERROR(allocate(logits, &logits_));
  const int64_t most_splits =
      GraphShape(1, std::max<int64_t>(config_.context - 1, 0)).splits;  // of any graph
  const int64_t one_row = cuda::PartialFloats(shape_.heads, shape_.dim, bundle_.rows, most_splits);
  RETURN_IF_ERROR(allocate(std::max(options_.partial_floats, one_row), &partial_));
  RETURN_IF_ERROR(allocate(n * kInputs, &inputs_));
  // What idle rows of a graph leave unwritten is read by others of its kernels.
  for (const auto& [memory, bytes] :
       {std::pair<void*, int64_t>{heads_, n * query * 4}, {qkv_, n * shape_.row() * 4}}) {
    RETURN_IF_ERROR(CudaStatus(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), stream_),
                               "clearing rows"));
  }
  RETURN_IF_ERROR(rows_memory_.AllocatePinned(n * kInputs, "inputs", &host_inputs_));
  RETURN_IF_ERROR(rows_memory_.AllocatePinned(logits, "logits", &host_logits_));
  RETURN_IF_ERROR(rows_memory_.AllocatePinned(n * pitch, "hidden states", &host_final_));
  row_capacity_ = n;
  return absl::OkStatus();
}

absl::Status CudaForward::SendInputs(const StepInputs& inputs) {
  const auto put = [&](Input which, const auto& values) {
    if (!values.empty())
      std::memcpy(host_inputs_ + which * row_capacity_, values.data(),
                  values.size() * sizeof(values[0]));
  };
  put(kTokens, inputs.tokens);
  put(kPositions, inputs.positions);
  put(kFirstPage, inputs.first_page);
  put(kFinalRows, inputs.final_rows);
  put(kBundles, inputs.bundles);
  std::memcpy(host_page_ids_, inputs.page_ids.data(), inputs.page_ids.size() * sizeof(int32_t));
  RETURN_IF_ERROR(
      CudaStatus(cudaMemcpyAsync(inputs_, host_inputs_,
                                 static_cast<size_t>(row_capacity_ * kInputs) * sizeof(int32_t),
                                 cudaMemcpyHostToDevice, stream_),
                 "sending a step"));
  return CudaStatus(
      cudaMemcpyAsync(page_ids_, host_page_ids_, inputs.page_ids.size() * sizeof(int32_t),
                      cudaMemcpyHostToDevice, stream_),
      "sending page tables");
}

void CudaForward::StartAttention(const cuda::LayerHeads& heads, const Step& step) {
  const cuda::PagedRows rows = {inputs_ + kPositions * row_capacity_,
                                inputs_ + kFirstPage * row_capacity_,
                                page_ids_,
                                pool_,
                                layout_.page_bytes,
                                step.rows};
  cuda::PlaceAndStore(heads, rows, stream_);
  const auto* const bundles =
      reinterpret_cast<const cuda::RowBundle*>(inputs_ + kBundles * row_capacity_);
  // As many bundles at a time as the memory of partial sums holds.
  for (int first = 0; first < step.bundles;) {
    const int first_row = step.host_bundles[static_cast<size_t>(first)].first;
    int end = first, count = 0;
    while (end < step.bundles) {
      const int more = step.host_bundles[static_cast<size_t>(end)].count;
      if (end > first && cuda::PartialFloats(shape_.heads, shape_.dim, count + more, step.splits) >
                             options_.partial_floats) {
        break;
      }
      count += more;
      ++end;
    }
    cuda::Attend(heads, rows,
                 {bundles + first, end - first, first_row, count, step.splits, partial_, heads_},
                 stream_);
    first = end;
  }
}

absl::Status CudaForward::StartLayers(const Step& step) {
  const int h = static_cast<int>(config_.hidden), ffn = static_cast<int>(config_.ffn);
  const int query = shape_.heads * shape_.dim;
  const float eps = static_cast<float>(config_.norm_eps);
  const auto quantise = [&](float* x, int width, const float* first, const float* norm) {
    const int stride = static_cast<int>(DeviceRowStride(width));
    cuda::NormQuantiseRows(x, step.rows, width, {first, norm, eps, x8_, sums_, inv_, stride},
                           stream_);
    return cuda::QuantisedRows{x8_, sums_, inv_, stride, step.rows};
  };
  using cuda::Epilogue;
  const Epilogue gated =
      config_.ffn_activation() == FfnActivation::kSilu ? Epilogue::kSiluGated : Epilogue::kGated;
  cuda::EmbedRows(outer_.embedding, inputs_ + kTokens * row_capacity_, step.rows, x_, stream_);
  const float* norm_before = nullptr;  // of the layer before, family tritter
  for (int64_t i = 0; i < config_.layers; ++i) {
    ASSIGN_OR_RETURN(const DeviceLayer w, layers_->Acquire(i));
    const cuda::QuantisedRows x8 = quantise(x_, h, norm_before, w.norm_in);
    // Its last norm is read only now.
    if (i > 0) RETURN_IF_ERROR(layers_->Release(i - 1));
    cuda::TernaryProduct(w.qkv, x8, {qkv_, shape_.row(), Epilogue::kStore}, stream_);
    StartAttention({shape_, qkv_, layout_.format, layout_.Offset(i, 0), layout_.head_bytes,
                    w.q_norm, w.k_norm, outer_.cos, outer_.sin, eps},
                   step);
    cuda::TernaryProduct(w.o, quantise(heads_, query, nullptr, w.attn_sub_norm),
                         {x_, h, Epilogue::kAdd}, stream_);
    cuda::TernaryProduct(w.gate_up, quantise(x_, h, nullptr, pre_norm_ ? w.norm_post : nullptr),
                         {inner_, ffn, gated}, stream_);
    cuda::TernaryProduct(w.down, quantise(inner_, ffn, nullptr, w.ffn_sub_norm),
                         {x_, h, Epilogue::kAdd}, stream_);
    norm_before = pre_norm_ ? nullptr : w.norm_post;
  }
  const cuda::FinalRows finals = {inputs_ + kFinalRows * row_capacity_,
                                  norm_before,
                                  outer_.norm,
                                  eps,
                                  final_,
                                  static_cast<int>(cuda::GpuRowPitch(cuda::RowType::kF32, h) / 4),
                                  hi_,
                                  lo_,
                                  digits_inv_,
                                  digit_sums_,
                                  static_cast<int>(DigitsStride(h))};
  if (step.finals > 0) cuda::NormFinalRows(x_, step.finals, h, finals, stream_);
  RETURN_IF_ERROR(layers_->Release(config_.layers - 1));
  if (step.head_rows > 0) cuda::HeadRows(outer_.head, finals, 0, step.head_rows, logits_, stream_);
  return absl::OkStatus();
}

// The first step of a shape runs by itself (it also loads the kernels, which capturing must not),
// and is then captured for those that follow.
absl::Status CudaForward::RunGraph(const StepShape& shape, const Step& step) {
  if (const auto known = graphs_.find(shape); known != graphs_.end())
    return CudaStatus(cudaGraphLaunch(known->second, stream_), "starting a graph");
  RETURN_IF_ERROR(StartLayers(step));
  RETURN_IF_ERROR(CudaStatus(cudaGetLastError(), "the forward pass"));
  RETURN_IF_ERROR(
      CudaStatus(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capturing"));
  RETURN_IF_ERROR(StartLayers(step));
  cudaGraph_t graph = nullptr;
  RETURN_IF_ERROR(CudaStatus(cudaStreamEndCapture(stream_, &graph), "capturing a step"));
  cudaGraphExec_t ready = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&ready, graph, 0);
  (void)cudaGraphDestroy(graph);
  RETURN_IF_ERROR(CudaStatus(made, "making a graph"));
  graphs_[shape] = ready;
  return absl::OkStatus();
}

absl::Status CudaForward::Fetch(const float* from, int64_t floats, float* to, const char* what) {
  RETURN_IF_ERROR(CudaStatus(cudaGetLastError(), what));
  RETURN_IF_ERROR(CudaStatus(cudaMemcpyAsync(to, from, static_cast<size_t>(floats) * sizeof(float),
                                             cudaMemcpyDeviceToHost, stream_),
                             what));
  return CudaStatus(cudaStreamSynchronize(stream_), what);
}

absl::Status CudaForward::Run(absl::Span<const ForwardRow> rows,
                              absl::FunctionRef<void(int64_t first, int64_t count)> use) {
  if (!failed_.ok()) return failed_;
  const absl::Status status = Compute(rows, use);
  // What is only too large leaves the device as it was.
  if (!status.ok() && !absl::IsResourceExhausted(status)) {
    failed_ = absl::UnavailableError(absl::StrCat("cuda:", options_.device, ": ", status.message(),
                                                  "; the server has to be started again"));
    return failed_;
  }
  return status;
}

absl::Status CudaForward::Compute(absl::Span<const ForwardRow> rows,
                                  absl::FunctionRef<void(int64_t first, int64_t count)> use) {
  if (rows.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CudaStatus(cudaSetDevice(options_.device), "being chosen"));
  int64_t last = 0;
  bool all_logits = true;
  for (const ForwardRow& row : rows) {
    last = std::max(last, row.position);
    all_logits = all_logits && row.wants_logits && !row.wants_hidden;
  }
  const int64_t count = static_cast<int64_t>(rows.size());
  StepShape shape = GraphShape(count, last);
  const bool graph = all_logits && !layers_->streamed() &&
                     shape.rows <= std::min<int64_t>(kMostGraphRows, logits_part_) &&
                     cuda::PartialFloats(shape_.heads, shape_.dim, shape.rows, shape.splits) <=
                         options_.partial_floats;
  if (!graph) shape = PlainShape(count, last);
  const StepInputs inputs =
      MakeStepInputs(rows, shape, {pool_, layout_.page_bytes}, graph ? 1 : bundle_.rows, graph);
  logits_wanted_ = inputs.logits;
  RETURN_IF_ERROR(EnsureRows(shape.rows, static_cast<int64_t>(inputs.page_ids.size())));
  RETURN_IF_ERROR(SendInputs(inputs));
  const int64_t first_part = std::min(logits_part_, inputs.logits);
  const Step step = {shape.rows,
                     shape.splits,
                     static_cast<int>(inputs.bundles.size()),
                     static_cast<int>(inputs.final_rows.size()),
                     graph ? shape.rows : static_cast<int>(first_part),
                     inputs.bundles};
  if (graph) {
    RETURN_IF_ERROR(RunGraph(shape, step));
  } else {
    RETURN_IF_ERROR(StartLayers(step));
  }
  const int pitch = static_cast<int>(cuda::GpuRowPitch(cuda::RowType::kF32, config_.hidden) / 4);
  if (inputs.hidden > 0) {
    RETURN_IF_ERROR(
        Fetch(final_, (inputs.logits + inputs.hidden) * pitch, host_final_, "the forward pass"));
  }
  for (int64_t first = 0; first < inputs.logits; first += logits_part_) {
    const int64_t part = std::min(logits_part_, inputs.logits - first);
    if (first > 0) {
      const cuda::FinalRows finals = {nullptr,
                                      nullptr,
                                      nullptr,
                                      0,
                                      final_,
                                      pitch,
                                      hi_,
                                      lo_,
                                      digits_inv_,
                                      digit_sums_,
                                      static_cast<int>(DigitsStride(config_.hidden))};
      cuda::HeadRows(outer_.head, finals, static_cast<int>(first), static_cast<int>(part), logits_,
                     stream_);
    }
    RETURN_IF_ERROR(Fetch(logits_, part * config_.vocab, host_logits_, "the forward pass"));
    logits_first_ = first;
    use(first, part);
  }
  // The next step writes inputs that this one may still be reading.
  RETURN_IF_ERROR(CudaStatus(cudaGetLastError(), "the forward pass"));
  RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream_), "the forward pass"));
  return layers_->EndPass();
}

absl::Span<const float> CudaForward::Logits(int64_t i) const {
  return {host_logits_ + (i - logits_first_) * config_.vocab, static_cast<size_t>(config_.vocab)};
}

absl::Span<const float> CudaForward::Hidden(int64_t i) const {
  const int64_t pitch = cuda::GpuRowPitch(cuda::RowType::kF32, config_.hidden) / 4;
  return {host_final_ + (logits_wanted_ + i) * pitch, static_cast<size_t>(config_.hidden)};
}

}  // namespace tritter
