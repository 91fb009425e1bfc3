#include "model/export.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"
#include "model/checkpoint_manifest.h"
#include "model/checkpoint_tensors.h"
#include "model/run_spec.h"
#include "model/safetensors.h"
#include "model/tokenizer.h"
#include "model/tpack.h"

namespace tritter {
namespace {

// What is exported: the checked checkpoint and where its weights are.
struct Source {
  CheckpointManifest manifest;
  std::string manifest_hash;
  ModelConfig config;
  std::unique_ptr<CheckpointTensors> tensors;
  bool raw = false;

  absl::string_view prefix() const { return raw ? "weight/" : "ema/"; }
  std::string weights() const { return raw ? "raw" : "averaged"; }
};

absl::StatusOr<Source> OpenSource(Env* env, const std::string& folder,
                                  const ExportOptions& options) {
  Source source;
  source.raw = options.raw;
  ASSIGN_OR_RETURN(source.manifest, ReadManifest(env, folder));
  const std::string manifest_path = JoinPath(folder, "manifest.json");
  ASSIGN_OR_RETURN(const RunSpec spec,
                   ParseRunSpec(source.manifest.spec_yaml, manifest_path + ": spec_yaml", folder));
  source.config = spec.model;
  RETURN_IF_ERROR(CheckExportable(source.config, options));  // what needs no hours of hashing first
  RETURN_IF_ERROR(VerifyCheckpoint(env, folder, source.manifest, /*hashes=*/true));
  ASSIGN_OR_RETURN(source.manifest_hash, Sha256HexOfFile(env, manifest_path));
  ASSIGN_OR_RETURN(source.tensors, CheckpointTensors::Open(env, folder, source.manifest));
  return source;
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
    double sum = 0;  // the order of QuantiseWeights
    for (int64_t r = 0; r < rows; ++r) sum += AbsSum(w.data() + r * cols, cols);
    out.scales.push_back(ScaleFromAbsSum(sum, rows * cols));
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

absl::Status WriteTpack(Env* env, const Source& source, const std::string& path) {
  const CheckpointManifest& m = source.manifest;
  const TpackProvenance provenance{m.run_id, m.step, source.manifest_hash, source.weights(),
                                   kVersion};
  ASSIGN_OR_RETURN(
      std::unique_ptr<TpackWriter> writer,
      TpackWriter::Create(env, path, source.config, ByteTokenizer().hash(), provenance));
  const bool per_row = source.config.granularity == ScaleGranularity::kRow;
  for (const ParameterSpec& parameter : ParameterTable(source.config)) {
    ASSIGN_OR_RETURN(const absl::Span<const float> values,
                     source.tensors->Get(source.prefix(), parameter));
    if (parameter.kind == ParameterKind::kTernary) {
      RETURN_IF_ERROR(writer->Add(PackTernary(parameter, values, per_row)));
    } else {
      std::string bytes(reinterpret_cast<const char*>(values.data()),
                        values.size() * sizeof(float));
      RETURN_IF_ERROR(
          writer->Add({parameter.name, parameter.shape, TpackType::kF32, std::move(bytes), {}}));
    }
  }
  RETURN_IF_ERROR(writer->Finish());
  ASSIGN_OR_RETURN(const std::unique_ptr<TpackFile> written, TpackFile::Open(env, path));
  return written->VerifyAll();
}

// All weights as F32 under the names of ParameterTable; read from the mapped shares while they are
// written.
absl::Status WriteAllAsSafetensors(Env* env, const Source& source, const std::string& path) {
  std::vector<TensorToWrite> tensors;
  for (const ParameterSpec& parameter : ParameterTable(source.config)) {
    ASSIGN_OR_RETURN(const absl::Span<const float> values,
                     source.tensors->Get(source.prefix(), parameter));
    const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(values.data()),
                                          values.size() * sizeof(float));
    tensors.push_back({parameter.name, DType::kF32, parameter.shape, bytes});
  }
  const CheckpointManifest& m = source.manifest;
  const std::map<std::string, std::string> metadata = {
      {"format", "tritter"},         {"model", ModelConfigToYaml(source.config, 0)},
      {"run_id", m.run_id},          {"step", absl::StrCat(m.step)},
      {"weights", source.weights()}, {"checkpoint_hash", source.manifest_hash},
      {"code_version", kVersion},    {"tokenizer_hash", ByteTokenizer().hash()}};
  ASSIGN_OR_RETURN(const WrittenFile written, WriteSafetensors(env, path, tensors, metadata));
  RETURN_IF_ERROR(SafetensorsFile::Open(env, path));
  ASSIGN_OR_RETURN(const std::string hash, Sha256HexOfFile(env, path));
  if (hash == written.sha256) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": SHA-256 read back is ", hash, ", written was ", written.sha256));
}

}  // namespace

absl::Status CheckExportable(const ModelConfig& config, const ExportOptions& options) {
  if (options.format == "safetensors") return absl::OkStatus();
  if (options.format != "tpack") {
    return absl::InvalidArgumentError(
        absl::StrCat("export format '", options.format, "', expected tpack or safetensors"));
  }
  const absl::Status packable = CheckPackable(config);
  if (packable.ok()) return absl::OkStatus();
  return absl::Status(packable.code(),
                      absl::StrCat(packable.message(), "; export with format safetensors"));
}

absl::StatusOr<ExportResult> ExportCheckpoint(Env* env, const std::string& checkpoint_folder,
                                              const std::string& path,
                                              const ExportOptions& options) {
  absl::StatusOr<Source> source = OpenSource(env, checkpoint_folder, options);
  if (!source.ok()) return source.status();
  RETURN_IF_ERROR(env->CreateDirs(Dirname(path)));

  // Read back and checked before it takes the place of an older file.
  const std::string unverified = path + ".unverified";
  absl::Status status = options.format == "tpack" ? WriteTpack(env, *source, unverified)
                                                  : WriteAllAsSafetensors(env, *source, unverified);
  ExportResult result{path, 0, "", source->manifest.step};
  if (status.ok()) {
    absl::StatusOr<std::string> hash = Sha256HexOfFile(env, unverified);
    const absl::StatusOr<uint64_t> bytes = env->FileSize(unverified);
    status = !hash.ok() ? hash.status() : bytes.status();
    if (status.ok()) result.sha256 = *std::move(hash), result.bytes = *bytes;
  }
  if (status.ok()) status = env->Rename(unverified, path);
  if (!status.ok()) {
    if (env->Exists(unverified))
      env->RemoveFile(unverified).IgnoreError();  // the first error is the one that counts
    return status;
  }
  RETURN_IF_ERROR(env->SyncDir(Dirname(path)));
  return result;
}

}  // namespace tritter
