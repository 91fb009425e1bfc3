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

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const TpackEntry& entry : header_.entries) names.push_back(entry.name);
    return names;
  }

  absl::StatusOr<TpackTensor> Get(const std::string& name) override {
    const auto found = index_.find(name);
    if (found == index_.end())
      return absl::NotFoundError(absl::StrCat(path_, ": no tensor '", name, "'"));
    FirstRead& first = first_reads_[found->second];
    std::call_once(first.once, [&] { first.status = VerifyEntry(header_.entries[found->second]); });
    if (!first.status.ok()) return first.status;
    return View(header_.entries[found->second]);
  }

  absl::Status VerifyAll() override {
    uint64_t end = header_.header_end;
    for (const TpackEntry& entry : header_.entries) {
      RETURN_IF_ERROR(VerifyEntry(entry));
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
    const auto scale_bytes = Bytes(entry.scale_offset, entry.scale_count * sizeof(float));
    return {
        entry.name, entry.shape, entry.type, Bytes(entry.offset, entry.length),
        absl::MakeConstSpan(reinterpret_cast<const float*>(scale_bytes.data()), entry.scale_count)};
  }

  absl::Status VerifyCrc(const std::string& what, uint64_t offset, uint64_t length,
                         uint32_t want) const {
    const absl::Span<const uint8_t> bytes = Bytes(offset, length);
    const uint32_t have = Crc32c(0, bytes.data(), bytes.size());
    if (have == want) return absl::OkStatus();
    return Damaged(path_, offset, absl::StrCat("CRC-32C of ", what, " (", length, " bytes)"),
                   absl::StrFormat("%08x", want), absl::StrFormat("%08x", have));
  }

  absl::Status VerifyEntry(const TpackEntry& entry) const {
    RETURN_IF_ERROR(VerifyCrc(entry.name, entry.offset, entry.length, entry.data_crc));
    if (entry.scale_count > 0) {
      RETURN_IF_ERROR(VerifyCrc(absl::StrCat("the scales of ", entry.name), entry.scale_offset,
                                entry.scale_count * sizeof(float), entry.scale_crc));
    }
    return VerifyTensorValues(View(entry), absl::StrCat(path_, ": offset ", entry.offset));
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
