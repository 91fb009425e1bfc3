#include "model/export_forms.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"
#include "model/hf_format.h"
#include "model/hf_text.h"
#include "model/tokenizer.h"
#include "model/tpack.h"

namespace tritter {
namespace {

absl::Span<const uint8_t> AsBytes(absl::Span<const float> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

// The tensor's scale, in the order of QuantiseWeights.
float TensorScale(absl::Span<const float> w, int64_t rows, int64_t cols) {
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) sum += AbsSum(w.data() + r * cols, cols);
  return ScaleFromAbsSum(sum, rows * cols);
}

// Sixteen rows at a time: beside the result only one row block is held.
TpackTensorToWrite PackTernary(const ParameterSpec& parameter, absl::Span<const float> w,
                               bool per_row) {
  const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
  TpackTensorToWrite out{parameter.name, parameter.shape, TpackType::kTernaryTile16x16, "", {}};
  out.data.resize(TiledBytes(rows, cols));
  uint8_t* tiled = reinterpret_cast<uint8_t*>(out.data.data());
  if (per_row) {
    for (int64_t r = 0; r < rows; ++r)
      out.scales.push_back(AbsMeanScale(w.data() + r * cols, cols));
  } else {
    out.scales.push_back(TensorScale(w, rows, cols));
  }
  std::vector<int8_t> q(kTileRows * cols);
  std::vector<uint8_t> logical(kTileRows * LogicalRowBytes(cols));
  for (int64_t first = 0; first < rows; first += kTileRows) {
    const int64_t count = std::min<int64_t>(kTileRows, rows - first);
    for (int64_t r = 0; r < count; ++r) {
      QuantiseTernary(w.data() + (first + r) * cols, cols, out.scales[per_row ? first + r : 0],
                      q.data() + r * cols);
    }
    PackLogical(q.data(), count, cols, logical.data());
    LogicalToTiled(logical.data(), count, cols, tiled + TiledBytes(first, cols));
  }
  return out;
}

// Each file's hash, read from disk, is that of what was written.
absl::Status ReadBack(Env* env, const std::string& folder,
                      const std::vector<WrittenSetFile>& files) {
  for (const WrittenSetFile& file : files) {
    const std::string path = JoinPath(folder, file.name);
    ASSIGN_OR_RETURN(const std::string hash, Sha256HexOfFile(env, path));
    if (hash == file.sha256) continue;
    return absl::DataLossError(
        absl::StrCat(path, ": SHA-256 read back is ", hash, ", written was ", file.sha256));
  }
  return absl::OkStatus();
}

// Metadata that every exported safetensors file carries.
std::map<std::string, std::string> OriginMetadata(const WeightOrigin& origin) {
  return {
      {"run_id", origin.run_id}, {"step", absl::StrCat(origin.step)}, {"weights", origin.weights}};
}

absl::StatusOr<std::vector<uint8_t>> PackCodes(WeightSource* source,
                                               const ParameterSpec& parameter) {
  const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
  ASSIGN_OR_RETURN(const absl::Span<const float> w, source->Get(parameter));
  std::vector<int8_t> q(rows * cols);
  float scale = 0;
  QuantiseWeights(w.data(), rows, cols, /*per_row=*/false, q.data(), &scale);
  std::vector<uint8_t> codes(rows / 4 * cols);
  HfPack(q.data(), rows, cols, codes.data());
  return codes;
}

// A tensor that is read from the source when it is written.
TensorToWrite AsF32(WeightSource* source, const ParameterSpec& parameter, std::string name) {
  return {std::move(name),
          DType::kF32,
          parameter.shape,
          {},
          [=]() -> absl::StatusOr<absl::Span<const uint8_t>> {
            ASSIGN_OR_RETURN(const absl::Span<const float> values, source->Get(parameter));
            return AsBytes(values);
          }};
}

absl::StatusOr<std::vector<TensorToWrite>> HfTensors(WeightSource* source, bool packed) {
  std::vector<TensorToWrite> tensors;
  // One matrix at a time is held, whichever is being written.
  auto scale = std::make_shared<float>();
  auto codes = std::make_shared<std::vector<uint8_t>>();
  for (const ParameterSpec& parameter : ParameterTable(source->config())) {
    const std::string name = HfTensorName(parameter.name);
    if (!packed || parameter.kind != ParameterKind::kTernary) {
      tensors.push_back(AsF32(source, parameter, name));
      continue;
    }
    const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
    if (rows % 4 != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(parameter.name, " has ", rows,
                       " rows, expected a multiple of 4: the packed form holds four to a byte; "
                       "export with --masters"));
    }
    tensors.push_back({HfScaleName(name),
                       DType::kF32,
                       {1},
                       {},
                       [=]() -> absl::StatusOr<absl::Span<const uint8_t>> {
                         ASSIGN_OR_RETURN(const absl::Span<const float> w, source->Get(parameter));
                         *scale = TensorScale(w, rows, cols);
                         return AsBytes({scale.get(), 1});
                       }});
    tensors.push_back({name,
                       DType::kU8,
                       {rows / 4, cols},
                       {},
                       [=]() -> absl::StatusOr<absl::Span<const uint8_t>> {
                         ASSIGN_OR_RETURN(*codes, PackCodes(source, parameter));
                         return absl::MakeConstSpan(*codes);
                       }});
  }
  return tensors;
}

TpackTensorToWrite PackRows(const ParameterSpec& parameter, absl::Span<const float> values,
                            TpackType type, RowFormat format) {
  const int64_t rows = parameter.shape[0], cols = parameter.shape[1],
                bytes = QuantisedRowBytes(format, cols);
  TpackTensorToWrite tensor{parameter.name, parameter.shape, type, {}, {}};
  tensor.data.resize(static_cast<size_t>(rows * bytes));
  for (int64_t r = 0; r < rows; ++r) {
    tensor.scales.push_back(QuantiseRowCodes(format, &values[static_cast<size_t>(r * cols)], cols,
                                             reinterpret_cast<uint8_t*>(&tensor.data[r * bytes])));
  }
  return tensor;
}

}  // namespace

absl::StatusOr<std::vector<WrittenSetFile>> WriteTpackForm(Env* env, WeightSource* source,
                                                           const std::string& folder,
                                                           const std::string& name,
                                                           TpackType head) {
  const std::string path = JoinPath(folder, name);
  const WeightOrigin& from = source->origin();
  const ModelConfig& config = source->config();
  const TpackProvenance provenance{from.run_id, from.step, from.checkpoint_hash, from.weights,
                                   kVersion};
  ASSIGN_OR_RETURN(std::unique_ptr<TpackWriter> writer,
                   TpackWriter::Create(env, path, config, from.tokenizer_hash, provenance));
  const bool per_row = config.granularity == ScaleGranularity::kRow;
  const std::string head_name = config.tied_embeddings ? "embed.weight" : "head.weight";
  for (const ParameterSpec& parameter : ParameterTable(config)) {
    ASSIGN_OR_RETURN(const absl::Span<const float> values, source->Get(parameter));
    if (parameter.kind == ParameterKind::kTernary) {
      RETURN_IF_ERROR(writer->Add(PackTernary(parameter, values, per_row)));
    } else if (const auto format = RowFormatOf(head); format && parameter.name == head_name) {
      RETURN_IF_ERROR(writer->Add(PackRows(parameter, values, head, *format)));
    } else {
      const absl::Span<const uint8_t> bytes = AsBytes(values);
      RETURN_IF_ERROR(writer->Add({parameter.name,
                                   parameter.shape,
                                   TpackType::kF32,
                                   std::string(bytes.begin(), bytes.end()),
                                   {}}));
    }
  }
  RETURN_IF_ERROR(writer->Finish());
  ASSIGN_OR_RETURN(const std::unique_ptr<TpackFile> written, TpackFile::Open(env, path));
  RETURN_IF_ERROR(written->VerifyAll());
  ASSIGN_OR_RETURN(std::string hash, Sha256HexOfFile(env, path));
  return std::vector<WrittenSetFile>{{name, written->file_bytes(), std::move(hash)}};
}

absl::StatusOr<std::vector<WrittenSetFile>> WriteSafetensorsForm(Env* env, WeightSource* source,
                                                                 const std::string& folder,
                                                                 const std::string& stem,
                                                                 uint64_t max_shard_bytes) {
  std::vector<TensorToWrite> tensors;
  for (const ParameterSpec& parameter : ParameterTable(source->config())) {
    tensors.push_back(AsF32(source, parameter, parameter.name));
  }
  std::map<std::string, std::string> metadata = OriginMetadata(source->origin());
  metadata["format"] = "tritter";
  metadata["model"] = ModelConfigToYaml(source->config(), 0);
  metadata["tokenizer_hash"] = source->origin().tokenizer_hash;
  ASSIGN_OR_RETURN(std::vector<WrittenSetFile> files,
                   WriteSafetensorsSet(env, folder, stem, tensors, metadata, max_shard_bytes));
  RETURN_IF_ERROR(ReadBack(env, folder, files));
  return files;
}

absl::StatusOr<std::vector<WrittenSetFile>> WriteHfForm(Env* env, WeightSource* source,
                                                        const std::string& folder, bool packed,
                                                        uint64_t max_shard_bytes) {
  const WeightOrigin& origin = source->origin();
  HfConfig config;
  config.model = source->config();
  config.weights = packed ? HfWeights::kPackedScale : HfWeights::kPlain;
  config.byte_tokenizer = origin.tokenizer_hash == ByteTokenizer().hash();
  ASSIGN_OR_RETURN(const std::vector<TensorToWrite> tensors, HfTensors(source, packed));
  std::map<std::string, std::string> metadata = OriginMetadata(origin);
  metadata["format"] = "pt";  // what the transformers library asks for
  metadata["tokenizer_hash"] = origin.tokenizer_hash;
  ASSIGN_OR_RETURN(std::vector<WrittenSetFile> files,
                   WriteSafetensorsSet(env, folder, "model", tensors, metadata, max_shard_bytes));
  std::map<std::string, std::string> texts = {
      {"config.json", HfConfigText(config)},
      {"generation_config.json", HfGenerationConfigJson(config.byte_tokenizer)},
      {"README.md", HfModelCard(config, origin)}};
  if (config.byte_tokenizer) {
    texts["tokenizer.json"] = HfByteTokenizerJson();
    texts["tokenizer_config.json"] = HfByteTokenizerConfigJson(config.model);
  }
  for (const auto& [name, text] : texts) {
    RETURN_IF_ERROR(WriteFileAtomically(env, JoinPath(folder, name), text));
    files.push_back({name, text.size(), Sha256Hex(text)});
  }
  RETURN_IF_ERROR(ReadBack(env, folder, files));
  return files;
}

}  // namespace tritter
