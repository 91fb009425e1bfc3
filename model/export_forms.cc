#include "model/export_forms.h"

#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "model/gguf/gguf_weights.h"
#include "model/hf_format.h"
#include "model/hf_text.h"
#include "model/packed_tensor.h"
#include "model/tokenizer.h"
#include "model/tpack.h"

namespace tritter {
namespace {

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

// A tensor that is read from the source when it is written.
TensorToWrite AsF32(WeightSource* source, const ParameterSpec& parameter, std::string name) {
  return {std::move(name),
          DType::kF32,
          parameter.shape,
          {},
          [=]() -> absl::StatusOr<absl::Span<const uint8_t>> {
            ASSIGN_OR_RETURN(const absl::Span<const float> values, source->Get(parameter));
            return BytesOf(values);
          }};
}

absl::StatusOr<std::vector<TensorToWrite>> HfTensors(WeightSource* source, bool packed) {
  std::vector<TensorToWrite> tensors;
  // One matrix at a time is held, whichever is being written.
  auto scales = std::make_shared<std::vector<float>>();
  auto codes = std::make_shared<std::vector<uint8_t>>();
  for (const ParameterSpec& parameter : ParameterTable(source->config())) {
    const std::string name = HfTensorName(parameter.name, source->config().family);
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
    const bool per_row = source->config().granularity == ScaleGranularity::kRow;
    tensors.push_back({HfScaleName(name),
                       DType::kF32,
                       {per_row ? rows : 1},
                       {},
                       [=]() -> absl::StatusOr<absl::Span<const uint8_t>> {
                         ASSIGN_OR_RETURN(TernaryCodes ternary, TernaryCodesOf(source, parameter));
                         *scales = std::move(ternary.scales);
                         return BytesOf(*scales);
                       }});
    tensors.push_back({name,
                       DType::kU8,
                       {rows / 4, cols},
                       {},
                       [=]() -> absl::StatusOr<absl::Span<const uint8_t>> {
                         ASSIGN_OR_RETURN(const TernaryCodes ternary,
                                          TernaryCodesOf(source, parameter));
                         codes->resize(rows / 4 * cols);
                         HfPack(ternary.q.data(), rows, cols, codes->data());
                         return absl::MakeConstSpan(*codes);
                       }});
  }
  return tensors;
}

absl::Status AddQuantisedRows(WeightSource* source, const ParameterSpec& parameter, TpackType type,
                              RowFormat format, TpackWriter* writer) {
  ASSIGN_OR_RETURN(const absl::Span<const float> values, source->Get(parameter));
  const int64_t rows = parameter.shape[0], cols = parameter.shape[1],
                bytes = QuantisedRowBytes(format, cols);
  TpackTensorToWrite tensor{parameter.name, parameter.shape, type, {}, {}};
  tensor.data.resize(static_cast<size_t>(rows * bytes));
  for (int64_t r = 0; r < rows; ++r) {
    tensor.scales.push_back(QuantiseRowCodes(format, &values[static_cast<size_t>(r * cols)], cols,
                                             reinterpret_cast<uint8_t*>(&tensor.data[r * bytes])));
  }
  return writer->Add(tensor);
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
  const std::string head_name = config.tied_embeddings ? "embed.weight" : "head.weight";
  for (const ParameterSpec& parameter : ParameterTable(config)) {
    if (parameter.kind == ParameterKind::kTernary) {
      ASSIGN_OR_RETURN(const TpackTensorToWrite tensor, PackTensor(source, parameter));
      RETURN_IF_ERROR(writer->Add(tensor));
    } else if (const auto format = RowFormatOf(head); format && parameter.name == head_name) {
      RETURN_IF_ERROR(AddQuantisedRows(source, parameter, head, *format, writer.get()));
    } else {  // as it is given: an embedding may be half of the model
      ASSIGN_OR_RETURN(const absl::Span<const float> values, source->Get(parameter));
      RETURN_IF_ERROR(writer->Add(
          TpackTensor{parameter.name, parameter.shape, TpackType::kF32, BytesOf(values), {}}));
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
                                                        uint64_t max_shard_bytes,
                                                        const TokenizerFiles* tokenizer) {
  const WeightOrigin& origin = source->origin();
  HfConfig config;
  config.model = source->config();
  config.weights = packed ? HfWeights::kPackedScale : HfWeights::kPlain;
  config.byte_tokenizer = origin.tokenizer_hash == ByteTokenizer().hash();
  config.tokenizer_beside = tokenizer != nullptr;
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
  if (tokenizer != nullptr) {
    for (const auto& [name, text] : NamedTexts(*tokenizer)) texts[name] = text;
  }
  for (const auto& [name, text] : texts) {
    RETURN_IF_ERROR(WriteFileAtomically(env, JoinPath(folder, name), text));
    files.push_back({name, text.size(), Sha256Hex(text)});
  }
  RETURN_IF_ERROR(ReadBack(env, folder, files));
  return files;
}

absl::StatusOr<std::vector<WrittenSetFile>> WriteGgufForm(
    Env* env, WeightSource* source, const std::string& folder, const std::string& name,
    const GgufOptions& options, const TokenizerFiles* tokenizer, std::vector<std::string>* losses) {
  ASSIGN_OR_RETURN(GgufResult written,
                   WriteGgufWeights(env, source, JoinPath(folder, name), options, tokenizer));
  std::vector<WrittenSetFile> files = {{name, written.file.bytes, written.file.sha256}};
  RETURN_IF_ERROR(ReadBack(env, folder, files));
  *losses = std::move(written.losses);
  return files;
}

}  // namespace tritter
