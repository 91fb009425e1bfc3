#include "inference/streaming/load_model.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/block_reader.h"
#include "common/direct_file.h"
#include "common/huge_buffer.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "inference/streaming/layer_stream.h"
#include "inference/streaming/tensor_index.h"
#include "kernels/packing.h"
#include "model/tpack.h"

namespace tritter {
namespace {

constexpr uint64_t kBlockBytes = uint64_t{1} << 20;
// Of a megabyte: several times what a disk needs, so that it does not run dry while the thread that
// asks for more waits for a core.
constexpr int kReadsAtATime = 64;

// Codes and scales of ternary matrices, the rest in F32: of a model that is packed when it is read.
int64_t PackedBytes(const ModelConfig& config) {
  int64_t bytes = 0;
  for (const ParameterSpec& p : ParameterTable(config)) {
    const int64_t rows = p.shape[0], cols = p.shape.size() == 2 ? p.shape[1] : 1;
    bytes +=
        p.kind == ParameterKind::kTernary ? TiledBytes(rows, cols) + 4 * rows : 4 * rows * cols;
  }
  return bytes;
}

// Other forms are converted when a model is loaded whole, which takes memory of its own.
absl::Status CheckStreamable(const TpackFile& file) {
  for (const TpackEntry& entry : file.header().entries) {
    const bool norm = entry.shape.size() == 1 && entry.type != TpackType::kF32;
    if (entry.type != TpackType::kTernaryLogical && !norm) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        file.path(), ": ", entry.name, " is stored as ", TpackTypeName(entry.type),
        ", which cannot be streamed from disk; write the file again with: tritterctl convert ",
        file.path(), " streamable.tpack --to tpack"));
  }
  return absl::OkStatus();
}

// Of matrices in logical form, which are tiled into memory beside the mapped file.
int64_t CopiedBytes(const TpackFile& file) {
  int64_t bytes = 0;
  for (const TpackEntry& entry : file.header().entries) {
    if (entry.type == TpackType::kTernaryLogical)
      bytes += TiledBytes(entry.shape[0], entry.shape[1]);
  }
  return bytes;
}

absl::Status ReadRange(BlockReader* reader, const FileRange& range, uint8_t* into) {
  absl::Status status;
  uint64_t at = 0;
  while (at < range.bytes() || reader->under_way() > 0) {
    while (at < range.bytes() && !reader->full() && status.ok()) {
      const uint64_t bytes = std::min(kBlockBytes, range.bytes() - at);
      reader->Submit({range.begin + at, bytes, into + at, at});
      at += bytes;
    }
    if (reader->under_way() == 0) break;
    status.Update(reader->Wait().status);
  }
  return status;
}

// The tensors in [begin, end) of the table, which lie in `range`.
absl::Status CheckTensors(const TpackFile& file, size_t begin, size_t end, const FileRange& range,
                          const uint8_t* at) {
  for (size_t i = begin; i < end; ++i) {
    const TpackEntry& entry = file.header().entries[i];
    const TpackTensor tensor = TensorAt(entry, at, range.begin);
    RETURN_IF_ERROR(VerifyChecksums(entry, tensor, file.path()));
    RETURN_IF_ERROR(
        VerifyTensorValues(tensor, absl::StrCat(file.path(), ": offset ", entry.offset)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PackedModel>> LoadStreamed(std::unique_ptr<PackedModelFile> file,
                                                          const TpackFile& tpack,
                                                          const LoadPlan& load,
                                                          const TernaryKernel& kernel,
                                                          Clock* clock) {
  const TpackHeader& header = tpack.header();
  const ModelConfig& config = header.config;
  const StreamPlan& plan = *load.streamed;
  LayerStreamParts parts;
  ASSIGN_OR_RETURN(parts.disk, DirectFile::Open(tpack.path()));
  if (parts.disk->bytes() != header.file_bytes) {
    return absl::DataLossError(absl::StrCat(tpack.path(), ": has ", parts.disk->bytes(),
                                            " bytes, its header says ", header.file_bytes,
                                            "; it is being changed, load it again"));
  }
  parts.path = tpack.path();
  parts.header = &header;
  parts.kernel = &kernel;
  parts.clock = clock;
  ASSIGN_OR_RETURN(parts.front, HugeBuffer::Allocate(plan.front.bytes()));
  ASSIGN_OR_RETURN(parts.back, HugeBuffer::Allocate(plan.back.bytes()));
  for (HugeBuffer& slot : parts.slots) {
    ASSIGN_OR_RETURN(slot, HugeBuffer::Allocate(plan.buffer_bytes));
  }
  parts.reader = std::make_unique<BlockReader>(
      tpack.path(), header.file_bytes, NewReadQueue(parts.disk->descriptor(), kReadsAtATime));
  const std::string reads =
      absl::StrCat(parts.disk->direct() ? "direct, " : "", parts.reader->queue().name());
  const absl::Duration begin = clock->Monotonic();
  RETURN_IF_ERROR(ReadRange(parts.reader.get(), plan.front, parts.front.data()));
  RETURN_IF_ERROR(ReadRange(parts.reader.get(), plan.back, parts.back.data()));
  const double seconds = absl::ToDoubleSeconds(clock->Monotonic() - begin);
  const double disk =
      seconds > 0 ? static_cast<double>(plan.front.bytes() + plan.back.bytes()) / seconds : 0;
  parts.disk_bytes_per_second = disk;
  const std::vector<EntryRange> layers = EntriesOfLayers(header);
  const size_t resident =
      layers[static_cast<size_t>(plan.resident_layers)].begin;  // some layer is streamed
  RETURN_IF_ERROR(CheckTensors(tpack, 0, resident, plan.front, parts.front.data()));
  RETURN_IF_ERROR(
      CheckTensors(tpack, layers.back().end, header.entries.size(), plan.back, parts.back.data()));
  const TensorIndex index(header);
  const auto lookup = [&](const std::string& name) {
    const bool front = name == header.entries[0].name;
    return front ? index.Find(name, parts.front.data(), plan.front.begin)
                 : index.Find(name, parts.back.data(), plan.back.begin);
  };
  OuterWeights outer;
  RETURN_IF_ERROR(BindOuter(config, lookup, &outer));
  parts.plan = plan;
  ASSIGN_OR_RETURN(std::unique_ptr<LayerStream> stream, LayerStream::Start(std::move(parts)));
  for (int64_t i = 0; i < plan.resident_layers; ++i)
    RETURN_IF_ERROR(CheckLayer(*stream->Resident(i), i, config.layers, kernel));
  LogInfo("layers_streamed",
          {{"path", tpack.path()},
           {"weights_in_memory", load.weight_bytes},
           {"max_weight_memory", load.max_weight_bytes},
           {"resident_layers", plan.resident_layers},
           {"streamed_layers", config.layers - plan.resident_layers},
           {"layers_at_a_time", plan.groups[0].layers},
           {"bytes_per_step", plan.streamed_bytes()},
           {"reads", reads},
           {"disk_mb_per_second", static_cast<int64_t>(disk / 1e6)},
           {"steps_per_second_at_most",
            absl::StrFormat("%.2f", disk / static_cast<double>(plan.streamed_bytes()))}});
  return PackedModel::Assemble(std::move(file), outer, std::move(stream));
}

}  // namespace

absl::StatusOr<LoadPlan> PlanLoad(const PackedModelFile& file, const StreamOptions& options) {
  const int64_t limit = options.max_weight_bytes;
  const int64_t stored = static_cast<int64_t>(file.file_bytes());
  const auto* const tpack = dynamic_cast<const TpackFile*>(&file);
  if (tpack == nullptr) {
    const int64_t packed = PackedBytes(file.config());
    if (limit != 0 && packed > limit) {
      return absl::FailedPreconditionError(absl::StrCat(
          "packed, the model takes ", packed, " bytes, --max-weight-memory allows ", limit,
          ", and only a .tpack is streamed from disk; write one with: tritterctl convert"));
    }
    // Mapped too, while it is packed.
    return LoadPlan{std::nullopt, stored + packed, limit};
  }
  const int64_t copied = CopiedBytes(*tpack);
  const LoadPlan whole{std::nullopt, stored + copied, limit};
  if (limit == 0) return whole;
  ASSIGN_OR_RETURN(StreamPlan plan, PlanStreaming(tpack->header(), options, tpack->path()));
  if (plan.groups.empty() && (copied == 0 || whole.weight_bytes <= limit)) return whole;
  RETURN_IF_ERROR(CheckStreamable(*tpack));
  const int64_t bytes = static_cast<int64_t>(plan.memory_bytes());
  return LoadPlan{std::move(plan), bytes, limit};
}

absl::StatusOr<std::unique_ptr<PackedModel>> LoadModel(std::unique_ptr<PackedModelFile> file,
                                                       const LoadPlan& plan,
                                                       const TernaryKernel& kernel, Clock* clock) {
  if (!plan.streamed.has_value()) return PackedModel::Load(std::move(file), kernel);
  RETURN_IF_ERROR(CheckServable(file->config()));
  const auto& tpack = dynamic_cast<const TpackFile&>(*file);
  return LoadStreamed(std::move(file), tpack, plan, kernel, clock);
}

}  // namespace tritter
