#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "model/crc32c.h"
#include "model/tpack.h"
#include "model/tpack_format.h"

namespace tritter {
namespace {

constexpr size_t kCopyBytes = size_t{8} << 20;

// The header comes first in the file but is known last (it holds the checksums), so tensors are
// gathered in `path`.tmp-data and copied behind the header into `path`.tmp, which becomes `path`.
// Not thread-safe.
class SpoolingTpackWriter final : public TpackWriter {
 public:
  SpoolingTpackWriter(Env* env, std::string path, TpackHeader header)
      : env_(env),
        path_(std::move(path)),
        header_(std::move(header)),
        parameters_(ParameterTable(header_.config)) {}

  ~SpoolingTpackWriter() override {
    data_.reset();
    for (const std::string& temporary : {DataPath(), FilePath()}) {
      if (env_->Exists(temporary)) env_->RemoveFile(temporary).IgnoreError();
    }
  }

  absl::Status Start() {
    ASSIGN_OR_RETURN(data_, env_->NewWritableFile(DataPath()));
    return absl::OkStatus();
  }

  using TpackWriter::Add;
  absl::Status Add(const TpackTensor& tensor) override {
    RETURN_IF_ERROR(Check(tensor));
    const absl::string_view scales(reinterpret_cast<const char*>(tensor.scales.data()),
                                   tensor.scales.size() * sizeof(float));
    TpackEntry entry;
    entry.name = tensor.name;
    entry.shape = tensor.shape;
    entry.type = tensor.type;
    entry.length = tensor.data.size();
    entry.scale_count = tensor.scales.size();
    entry.data_crc = Crc32c(0, tensor.data.data(), tensor.data.size());
    entry.scale_crc = Crc32c(0, scales.data(), scales.size());
    RETURN_IF_ERROR(
        AppendPadded({reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()}));
    RETURN_IF_ERROR(AppendPadded(scales));
    header_.entries.push_back(std::move(entry));
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (data_ == nullptr)
      return absl::FailedPreconditionError(absl::StrCat(path_, ": Finish called twice"));
    if (header_.entries.size() != parameters_.size()) {
      return absl::FailedPreconditionError(absl::StrCat(
          path_, ": ", header_.entries.size(), " tensors added, expected ", parameters_.size(),
          "; the next is ", parameters_[header_.entries.size()].name));
    }
    RETURN_IF_ERROR(data_->Close());
    data_.reset();
    ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, env_->NewWritableFile(FilePath()));
    RETURN_IF_ERROR(file->Append(EncodeTpackHeader(&header_)));
    RETURN_IF_ERROR(CopyData(file.get()));
    RETURN_IF_ERROR(file->Sync());
    RETURN_IF_ERROR(file->Close());
    RETURN_IF_ERROR(env_->Rename(FilePath(), path_));
    return env_->SyncDir(Dirname(path_));
  }

 private:
  std::string DataPath() const { return path_ + ".tmp-data"; }
  std::string FilePath() const { return path_ + ".tmp"; }

  absl::Status Check(const TpackTensor& tensor) const {
    if (data_ == nullptr)
      return absl::FailedPreconditionError(absl::StrCat(path_, ": Add after Finish"));
    const size_t next = header_.entries.size();
    if (next >= parameters_.size() || tensor.name != parameters_[next].name) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": tensor ", next, " is ", tensor.name, ", expected ",
                       next < parameters_.size() ? parameters_[next].name : "no more"));
    }
    if (tensor.shape != parameters_[next].shape) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": ", tensor.name, " has shape ", absl::StrJoin(tensor.shape, "x"),
                       ", expected ", absl::StrJoin(parameters_[next].shape, "x")));
    }
    ASSIGN_OR_RETURN(const TpackSizes sizes,
                     ExpectedSizes(header_.config, parameters_[next], tensor.type));
    if (tensor.data.size() != sizes.data_bytes || tensor.scales.size() != sizes.scale_count) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": ", tensor.name, " has ", tensor.data.size(), " bytes and ",
                       tensor.scales.size(), " scales, expected ", sizes.data_bytes, " and ",
                       sizes.scale_count, " for ", TpackTypeName(tensor.type)));
    }
    const absl::Status values = VerifyTensorValues(tensor, path_);
    return values.ok() ? values : absl::InvalidArgumentError(values.message());
  }

  absl::Status AppendPadded(absl::string_view bytes) {
    RETURN_IF_ERROR(data_->Append(bytes));
    const std::string padding(AlignUp(bytes.size()) - bytes.size(), '\0');
    return padding.empty() ? absl::OkStatus() : data_->Append(padding);
  }

  absl::Status CopyData(WritableFile* file) {
    ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> data, env_->MapFile(DataPath()));
    const absl::string_view bytes(reinterpret_cast<const char*>(data->bytes().data()),
                                  data->bytes().size());
    if (header_.header_end + bytes.size() != header_.file_bytes) {
      return absl::DataLossError(absl::StrCat(DataPath(), ": ", bytes.size(), " bytes, expected ",
                                              header_.file_bytes - header_.header_end,
                                              "; another process writes it?"));
    }
    for (size_t at = 0; at < bytes.size(); at += kCopyBytes)
      RETURN_IF_ERROR(file->Append(bytes.substr(at, kCopyBytes)));
    return absl::OkStatus();
  }

  Env* const env_;
  const std::string path_;
  TpackHeader header_;
  const std::vector<ParameterSpec> parameters_;
  std::unique_ptr<WritableFile> data_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TpackWriter>> TpackWriter::Create(
    Env* env, const std::string& path, const ModelConfig& config, const std::string& tokenizer_hash,
    const TpackProvenance& provenance) {
  RETURN_IF_ERROR(ValidateConfig(config));
  TpackHeader header;
  header.config = config;
  header.tokenizer_hash = tokenizer_hash;
  header.provenance = provenance;
  auto writer = std::make_unique<SpoolingTpackWriter>(env, path, std::move(header));
  RETURN_IF_ERROR(writer->Start());
  return std::unique_ptr<TpackWriter>(std::move(writer));
}

}  // namespace tritter
