#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "kernels/packing.h"
#include "model/crc32c.h"
#include "model/tpack.h"
#include "model/tpack_format.h"

namespace tritter {
namespace {

absl::Status Damaged(const std::string& path, uint64_t offset, const std::string& what,
                     absl::string_view expected, absl::string_view actual) {
  return absl::DataLossError(absl::StrCat(path, ": offset ", offset, ": ", what, ": expected ",
                                          expected, ", found ", actual,
                                          "; the file is damaged, copy or export it again"));
}

absl::Status VerifyCrc(const std::string& path, const std::string& what, uint64_t offset,
                       absl::Span<const uint8_t> bytes, uint32_t want) {
  const uint32_t have = Crc32c(0, bytes.data(), bytes.size());
  if (have == want) return absl::OkStatus();
  return Damaged(path, offset, absl::StrCat("CRC-32C of ", what, " (", bytes.size(), " bytes)"),
                 absl::StrFormat("%08x", want), absl::StrFormat("%08x", have));
}

// A memory-mapped file whose header has been checked. Immutable but for the per-tensor results of
// the first read.
class MappedTpack final : public TpackFile {
 public:
  MappedTpack(std::string path, std::unique_ptr<MappedFile> file, TpackHeader header)
      : path_(std::move(path)),
        file_(std::move(file)),
        header_(std::move(header)),
        first_reads_(header_.entries.size()) {
    for (size_t i = 0; i < header_.entries.size(); ++i) index_[header_.entries[i].name] = i;
  }

  const ModelConfig& config() const override { return header_.config; }
  const std::string& tokenizer_hash() const override { return header_.tokenizer_hash; }
  const TpackProvenance& provenance() const override { return header_.provenance; }
  uint64_t file_bytes() const override { return header_.file_bytes; }
  const std::string& path() const override { return path_; }
  const TpackHeader& header() const override { return header_; }

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const TpackEntry& entry : header_.entries) names.push_back(entry.name);
    return names;
  }

  absl::StatusOr<TpackTensor> Get(const std::string& name) override {
    const auto found = index_.find(name);
    if (found == index_.end())
      return absl::NotFoundError(absl::StrCat(path_, ": no tensor '", name, "'"));
    RETURN_IF_ERROR(VerifyOnce(found->second));
    return View(header_.entries[found->second]);
  }

  absl::Status VerifyAll() override {
    uint64_t end = header_.header_end;
    for (size_t i = 0; i < header_.entries.size(); ++i) {
      RETURN_IF_ERROR(VerifyOnce(i));
      const TpackEntry& entry = header_.entries[i];
      end = entry.offset + entry.length;
      RETURN_IF_ERROR(VerifyZeros(end, AlignUp(end)));
      if (entry.scale_count == 0) continue;
      end = entry.scale_offset + entry.scale_count * sizeof(float);
      RETURN_IF_ERROR(VerifyZeros(end, AlignUp(end)));
    }
    return absl::OkStatus();
  }

 private:
  struct FirstRead {
    std::once_flag once;
    absl::Status status;
  };

  absl::Span<const uint8_t> Bytes(uint64_t offset, uint64_t length) const {
    return file_->bytes().subspan(offset, length);
  }

  TpackTensor View(const TpackEntry& entry) const {
    return TensorOf(entry, Bytes(entry.offset, entry.length).data(),
                    Bytes(entry.scale_offset, entry.scale_count * sizeof(float)).data());
  }

  const absl::Status& VerifyOnce(size_t i) {
    FirstRead& first = first_reads_[i];
    std::call_once(first.once, [&] { first.status = VerifyEntry(header_.entries[i]); });
    return first.status;
  }

  absl::Status VerifyEntry(const TpackEntry& entry) const {
    const TpackTensor tensor = View(entry);
    RETURN_IF_ERROR(VerifyChecksums(entry, tensor, path_));
    return VerifyTensorValues(tensor, absl::StrCat(path_, ": offset ", entry.offset));
  }

  absl::Status VerifyZeros(uint64_t begin, uint64_t end) const {
    for (uint64_t at = begin; at < end; ++at) {
      if (file_->bytes()[at] != 0)
        return Damaged(path_, at, "padding", "0", absl::StrCat(file_->bytes()[at]));
    }
    return absl::OkStatus();
  }

  const std::string path_;
  const std::unique_ptr<MappedFile> file_;
  const TpackHeader header_;
  std::map<std::string, size_t> index_;
  std::deque<FirstRead> first_reads_;  // by entry; a deque, for once_flag does not move
};

}  // namespace

TpackTensor TensorOf(const TpackEntry& entry, const uint8_t* data, const uint8_t* scales) {
  return {entry.name, entry.shape, entry.type, absl::MakeConstSpan(data, entry.length),
          absl::MakeConstSpan(reinterpret_cast<const float*>(scales), entry.scale_count)};
}

absl::Status VerifyChecksums(const TpackEntry& entry, const TpackTensor& tensor,
                             const std::string& path) {
  RETURN_IF_ERROR(VerifyCrc(path, entry.name, entry.offset, tensor.data, entry.data_crc));
  if (entry.scale_count == 0) return absl::OkStatus();
  const auto scales = absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(tensor.scales.data()),
                                          entry.scale_count * sizeof(float));
  return VerifyCrc(path, absl::StrCat("the scales of ", entry.name), entry.scale_offset, scales,
                   entry.scale_crc);
}

absl::Status VerifyTensorValues(const TpackTensor& tensor, const std::string& where) {
  int64_t bad = -1;
  if (tensor.type == TpackType::kTernaryTile16x16) {
    bad = FindInvalidTiled(tensor.data.data(), tensor.shape[0], tensor.shape[1]);
  } else if (tensor.type == TpackType::kTernaryLogical) {
    std::vector<int8_t> row(tensor.shape[1]);
    const int64_t row_bytes = LogicalRowBytes(tensor.shape[1]);
    for (int64_t r = 0; r < tensor.shape[0] && bad < 0; ++r) {
      if (!UnpackLogical(tensor.data.data() + r * row_bytes, 1, tensor.shape[1], row.data(), &bad))
        bad += r * row_bytes;
    }
  }
  if (bad >= 0) {
    return absl::DataLossError(
        absl::StrFormat("%s: %s: byte %d: expected ternary codes 0 to 2 (padding 1), found 0x%02x",
                        where, tensor.name, bad, tensor.data[bad]));
  }
  const bool above_zero = !RowFormatOf(tensor.type).has_value();
  for (size_t i = 0; i < tensor.scales.size(); ++i) {
    const float scale = tensor.scales[i];
    if (!std::isfinite(scale) || (above_zero && scale <= 0)) {
      return absl::DataLossError(absl::StrCat(where, ": ", tensor.name, ": scale ", i,
                                              ": expected a finite number",
                                              above_zero ? " above 0" : "", ", found ", scale));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TpackFile>> TpackFile::Open(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, env->MapFile(path));
  if (reinterpret_cast<uintptr_t>(file->bytes().data()) % alignof(float) != 0) {
    return absl::InternalError(
        absl::StrCat(path, ": mapped at an address that floats cannot be read from"));
  }
  ASSIGN_OR_RETURN(TpackHeader header, DecodeTpackHeader(file->bytes(), path));
  return std::unique_ptr<TpackFile>(
      std::make_unique<MappedTpack>(path, std::move(file), std::move(header)));
}

}  // namespace tritter
