#include "model/safetensors.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/safetensors_header.h"
#include "model/utf8.h"

namespace tritter {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kWriteBytes = 1 << 22;

absl::StatusOr<SafetensorsHeader> ReadHeader(absl::Span<const uint8_t> file, uint64_t* data_begin) {
  if (file.size() < kLengthBytes) {
    return absl::DataLossError(
        absl::StrCat("the file has ", file.size(), " bytes, expected at least 8"));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<uint64_t>(file[i]) << (8 * i);
  if (length > kMaxSafetensorsHeaderBytes) {
    return absl::DataLossError(absl::StrCat("the header says ", length, " bytes, expected at most ",
                                            kMaxSafetensorsHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    return absl::DataLossError(absl::StrCat("the header says ", length, " bytes but only ",
                                            file.size() - kLengthBytes, " follow (truncated)"));
  }
  *data_begin = kLengthBytes + length;
  const absl::string_view json(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (json.empty() || json[0] != '{')
    return absl::DataLossError("the header does not begin with `{`");
  return ParseSafetensorsHeader(json, file.size() - *data_begin);
}

absl::Status CheckTensors(absl::Span<const TensorToWrite> tensors,
                          const std::map<std::string, std::string>& metadata) {
  std::set<std::string> names;
  for (const TensorToWrite& t : tensors) {
    uint64_t bytes = 0;
    if (!TensorBytes(t.shape, t.dtype, &bytes) || (t.read == nullptr && bytes != t.bytes.size())) {
      return absl::InvalidArgumentError(absl::StrCat("tensor `", t.name, "`: ", t.bytes.size(),
                                                     " bytes given, expected ", bytes,
                                                     " by shape and dtype"));
    }
    if (t.name.empty() || t.name == "__metadata__" || !IsValidUtf8(t.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("`", t.name, "` cannot be the name of a tensor"));
    }
    if (!names.insert(t.name).second)
      return absl::InvalidArgumentError(absl::StrCat("duplicate name `", t.name, "`"));
  }
  for (const auto& [key, value] : metadata) {
    if (!IsValidUtf8(key) || !IsValidUtf8(value)) {
      return absl::InvalidArgumentError(absl::StrCat("metadata `", key, "` is not UTF-8"));
    }
  }
  return absl::OkStatus();
}

// Of a tensor, made now when it is made on demand: valid until the next one is.
absl::StatusOr<absl::string_view> BytesOf(const TensorToWrite& tensor,
                                          const SafetensorsEntry& entry) {
  absl::Span<const uint8_t> bytes = tensor.bytes;
  if (tensor.read != nullptr) {
    ASSIGN_OR_RETURN(bytes, tensor.read());
    if (bytes.size() != entry.end - entry.begin) {
      return absl::InternalError(absl::StrCat("tensor `", tensor.name, "`: ", bytes.size(),
                                              " bytes were made, expected ",
                                              entry.end - entry.begin));
    }
  }
  return absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

absl::Status Append(absl::string_view bytes, WritableFile* file) {
  for (size_t done = 0; done < bytes.size(); done += kWriteBytes)
    RETURN_IF_ERROR(file->Append(bytes.substr(done, kWriteBytes)));
  return absl::OkStatus();
}

// Hashes `pieces` beside the writing: neither the processor's work nor the disk's is waited for by
// the other.
class BackgroundHash {
 public:
  explicit BackgroundHash(std::vector<absl::string_view> pieces)
      : pieces_(std::move(pieces)), thread_([this] { Run(); }) {}
  ~BackgroundHash() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::string Finish() {
    thread_.join();
    return Hex(hasher_.Finish());
  }

 private:
  void Run() {
    for (const absl::string_view piece : pieces_) {
      for (size_t done = 0; done < piece.size() && !stop_; done += kWriteBytes)
        hasher_.Update(piece.substr(done, kWriteBytes));
    }
  }

  const std::vector<absl::string_view> pieces_;
  std::atomic<bool> stop_ = false;
  Sha256Hasher hasher_;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(Env* env,
                                                                       const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, env->MapFile(path));
  return Open(std::move(file), path);
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(
    std::unique_ptr<MappedFile> file, const std::string& path) {
  std::unique_ptr<SafetensorsFile> out(new SafetensorsFile);
  out->path_ = path;
  out->file_ = std::move(file);
  const absl::Span<const uint8_t> bytes = out->file_->bytes();
  uint64_t data_begin = 0;
  absl::StatusOr<SafetensorsHeader> header = ReadHeader(bytes, &data_begin);
  if (!header.ok()) return Annotate(header.status(), path);
  out->metadata_ = std::move(header->metadata);
  out->names_.reserve(header->entries.size());
  for (SafetensorsEntry& e : header->entries) {
    out->names_.push_back(e.name);
    out->tensors_.emplace(std::move(e.name),
                          TensorView{e.dtype, std::move(e.shape),
                                     bytes.subspan(data_begin + e.begin, e.end - e.begin)});
  }
  return out;
}

absl::StatusOr<TensorView> SafetensorsFile::Get(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  return absl::NotFoundError(absl::StrCat(path_, ": no tensor is called `", name,
                                          "`; the file holds ", names_.size(), " tensors"));
}

absl::StatusOr<WrittenFile> WriteSafetensors(Env* env, const std::string& path,
                                             absl::Span<const TensorToWrite> tensors,
                                             const std::map<std::string, std::string>& metadata) {
  RETURN_IF_ERROR(Annotate(CheckTensors(tensors, metadata), path));
  ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, env->NewWritableFile(path));
  return WriteSafetensors(file.get(), path, tensors, metadata);
}

absl::StatusOr<WrittenFile> WriteSafetensors(WritableFile* file, const std::string& path,
                                             absl::Span<const TensorToWrite> tensors,
                                             const std::map<std::string, std::string>& metadata) {
  RETURN_IF_ERROR(Annotate(CheckTensors(tensors, metadata), path));
  // Widest types first: with the data at a multiple of 8, every tensor is then aligned to its type.
  std::vector<const TensorToWrite*> order;
  for (const int64_t width : {8, 4, 2, 1}) {
    for (const TensorToWrite& t : tensors) {
      if (DTypeBytes(t.dtype) == width) order.push_back(&t);
    }
  }
  std::vector<SafetensorsEntry> entries;
  uint64_t offset = 0;
  for (const TensorToWrite* t : order) {
    uint64_t bytes = 0;
    TensorBytes(t->shape, t->dtype, &bytes);  // checked above
    entries.push_back({t->name, t->dtype, t->shape, offset, offset + bytes});
    offset += bytes;
  }
  const std::string header = SafetensorsHeaderText(entries, metadata);
  if (header.size() > kLengthBytes + kMaxSafetensorsHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the header would have ", header.size(),
                                                   " bytes, expected at most ",
                                                   kMaxSafetensorsHeaderBytes));
  }
  WrittenFile written{header.size() + offset, ""};
  const bool in_memory = std::none_of(order.begin(), order.end(),
                                      [](const TensorToWrite* t) { return t->read != nullptr; });
  if (in_memory) {
    std::vector<absl::string_view> pieces = {header};
    for (size_t i = 0; i < order.size(); ++i) pieces.push_back(*BytesOf(*order[i], entries[i]));
    BackgroundHash hash(pieces);
    for (const absl::string_view piece : pieces) RETURN_IF_ERROR(Append(piece, file));
    RETURN_IF_ERROR(file->Sync());
    RETURN_IF_ERROR(file->Close());
    written.sha256 = hash.Finish();
    return written;
  }
  Sha256Hasher hasher;
  hasher.Update(header);
  RETURN_IF_ERROR(Append(header, file));
  for (size_t i = 0; i < order.size(); ++i) {
    const absl::StatusOr<absl::string_view> bytes = BytesOf(*order[i], entries[i]);
    if (!bytes.ok()) return Annotate(bytes.status(), path);
    hasher.Update(*bytes);
    RETURN_IF_ERROR(Append(*bytes, file));
  }
  RETURN_IF_ERROR(file->Sync());
  RETURN_IF_ERROR(file->Close());
  written.sha256 = Hex(hasher.Finish());
  return written;
}

}  // namespace tritter
