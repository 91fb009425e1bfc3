#include "curation/ingest.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "curation/document_splitter.h"
#include "curation/shard_writer.h"
#include "model/tokenizer.h"
#include "model/utf8.h"

namespace tritter {
namespace {

constexpr int kMaxFolderDepth = 64;  // a link that points above itself ends here
constexpr char kRejectsName[] = "rejects.jsonl";
// What eos stands for when documents are split at blank lines: with it after each document the
// held-out text reads like the original, and raw_bytes counts what the tokens encode.
constexpr absl::string_view kBlankLineSeparator = "\n\n";

absl::Status CollectFiles(Env* env, const std::string& path, int depth,
                          std::vector<std::string>* files) {
  if (!env->IsDirectory(path)) {
    files->push_back(path);
    return absl::OkStatus();
  }
  if (depth > kMaxFolderDepth) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": folders are nested more than ",
                                                   kMaxFolderDepth,
                                                   " deep; is there a link to a folder above?"));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> names, env->ListDir(path));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, ".")) continue;
    RETURN_IF_ERROR(CollectFiles(env, JoinPath(path, name), depth + 1, files));
  }
  return absl::OkStatus();
}

// A file that appears at its path whole, or not at all.
class AtomicOutput {
 public:
  AtomicOutput(Env* env, std::string path) : env_(env), path_(std::move(path)) {}
  absl::Status Append(absl::string_view data) {
    if (file_ == nullptr) {
      ASSIGN_OR_RETURN(file_, env_->NewWritableFile(path_ + ".tmp"));
    }
    return file_->Append(data);
  }
  absl::Status Finish() {
    RETURN_IF_ERROR(Append(""));
    RETURN_IF_ERROR(file_->Sync());
    RETURN_IF_ERROR(file_->Close());
    RETURN_IF_ERROR(env_->Rename(path_ + ".tmp", path_));
    return env_->SyncDir(Dirname(path_));
  }

 private:
  Env* const env_;
  const std::string path_;
  std::unique_ptr<WritableFile> file_;
};

// The pass over the input. Lives for one call of Ingest.
class Ingester {
 public:
  Ingester(Env* env, const std::string& out, const IngestOptions& options, ShardWriter* writer)
      : env_(env),
        options_(options),
        writer_(writer),
        separator_(options.split_by == SplitBy::kBlankLine ? kBlankLineSeparator : ""),
        rejects_path_(JoinPath(out, kRejectsName)),
        rejects_(env, rejects_path_),
        heldout_(env, options.heldout_text) {}

  absl::Status Run(const std::vector<std::string>& files) {
    for (const std::string& path : files) {
      ASSIGN_OR_RETURN(const uint64_t size, env_->FileSize(path));
      bytes_total_ += size;
    }
    for (const std::string& path : files) RETURN_IF_ERROR(AddFile(path));
    if (documents_ == 0) return absl::InvalidArgumentError("no document: the input holds no text");
    if (static_cast<double>(rejected_in_all_) >
        options_.max_reject_ratio * static_cast<double>(documents_)) {
      RETURN_IF_ERROR(rejects_.Finish());
      return absl::InvalidArgumentError(
          absl::StrCat(rejected_in_all_, " of ", documents_, " documents cannot be used (limit ",
                       options_.max_reject_ratio * 100, " %); the reasons are in ", rejects_path_));
    }
    if (rejected_in_all_ > 0) RETURN_IF_ERROR(rejects_.Finish());
    if (!options_.heldout_text.empty()) RETURN_IF_ERROR(heldout_.Finish());
    return absl::OkStatus();
  }

  absl::StatusOr<IngestReport> Report() {
    IngestReport report;
    report.documents_seen = documents_;
    if (rejected_in_all_ > 0) report.rejects_file = rejects_path_;
    ASSIGN_OR_RETURN(report.manifest, writer_->Finish(std::move(inputs_), std::move(rejected_)));
    return report;
  }

 private:
  absl::Status AddFile(const std::string& path) {
    ASSIGN_OR_RETURN(const uint64_t size, env_->FileSize(path));
    if (size == 0) {
      inputs_.push_back({path, 0, Sha256Hex("")});
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, env_->MapFile(path));
    const absl::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                                 file->bytes().size());
    Sha256Hasher hasher;
    uint64_t hashed = 0;
    // Hashed piece by piece beside the pass, so that a large file is read from the disk once.
    const auto advance = [&](uint64_t position) {
      hasher.Update(text.substr(hashed, position - hashed));
      bytes_done_ += position - hashed;
      hashed = position;
      if (options_.progress && (++steps_ % 256 == 0 || position == text.size()))
        options_.progress(bytes_done_, bytes_total_);
    };
    if (options_.split_by == SplitBy::kFile) {
      RETURN_IF_ERROR(AddDocument(path, 1, text));
    } else {
      BlankLineSplitter splitter(text);
      absl::string_view document;
      uint64_t line = 0;
      while (splitter.Next(&document, &line)) {
        RETURN_IF_ERROR(AddDocument(path, line, document));
        advance(splitter.position());
      }
    }
    advance(text.size());
    inputs_.push_back({path, text.size(), Hex(hasher.Finish())});
    return absl::OkStatus();
  }

  absl::Status AddDocument(const std::string& path, uint64_t line, absl::string_view text) {
    ++documents_;
    if (text.size() > options_.max_document_bytes) {
      return Reject(path, line, "too_long",
                    absl::StrCat(text.size(), " bytes, limit ", options_.max_document_bytes));
    }
    if (absl::StrContains(text, '\0'))
      return Reject(path, line, "nul_byte", "a NUL byte: not a text");
    if (!IsValidUtf8(text)) return Reject(path, line, "invalid_utf8", "not UTF-8");

    std::vector<int32_t> tokens = ByteTokenizer().Encode(text);
    tokens.push_back(kEosId);
    const bool held_out = DigestMod(Sha256(text), 1000) < options_.heldout_per_mille;
    DocumentToWrite document;
    document.tokens = tokens;
    document.raw_bytes = text.size() + separator_.size();
    if (held_out && !options_.heldout_text.empty()) {
      RETURN_IF_ERROR(heldout_.Append(text));
      RETURN_IF_ERROR(heldout_.Append(separator_));
    }
    return writer_->Add(held_out ? Split::kHeldOut : Split::kTrain, document);
  }

  absl::Status Reject(const std::string& path, uint64_t line, const char* reason,
                      const std::string& message) {
    ++rejected_[reason];
    ++rejected_in_all_;
    const nlohmann::ordered_json record = {
        {"file", path}, {"line", line}, {"reason", reason}, {"message", message}};
    return rejects_.Append(
        record.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  }

  Env* const env_;
  const IngestOptions& options_;
  ShardWriter* const writer_;
  const absl::string_view separator_;
  const std::string rejects_path_;
  AtomicOutput rejects_, heldout_;
  std::vector<InputEntry> inputs_;
  std::map<std::string, uint64_t> rejected_;
  uint64_t rejected_in_all_ = 0, documents_ = 0, steps_ = 0;
  uint64_t bytes_done_ = 0, bytes_total_ = 0;
};

}  // namespace

absl::StatusOr<IngestReport> Ingest(Env* env, const std::string& input, const std::string& out,
                                    const IngestOptions& options) {
  if (options.heldout_per_mille > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("heldout_per_mille: expected 0 to 1000, actual ", options.heldout_per_mille));
  }
  if (options.max_document_bytes >= options.shard_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_document_bytes: expected below shard_tokens (", options.shard_tokens,
                     "), actual ", options.max_document_bytes));
  }
  if (!env->Exists(input))
    return absl::NotFoundError(absl::StrCat(input, ": no such file or folder"));
  std::vector<std::string> files;
  RETURN_IF_ERROR(CollectFiles(env, input, 0, &files));
  if (files.empty())
    return absl::InvalidArgumentError(absl::StrCat(input, ": the folder holds no files"));

  const bool by_line = options.split_by == SplitBy::kBlankLine;
  ShardWriterOptions shards;
  shards.source = options.source.empty() ? Basename(out) : options.source;
  shards.tokenizer_hash = ByteTokenizer().hash();
  shards.vocabulary = static_cast<uint32_t>(ByteTokenizer().vocabulary());
  shards.shard_tokens = options.shard_tokens;
  shards.options = {{"split_by", by_line ? "blank-line" : "file"},
                    {"separator_bytes", by_line ? "2" : "0"},
                    {"heldout_per_mille", absl::StrCat(options.heldout_per_mille)},
                    {"max_document_bytes", absl::StrCat(options.max_document_bytes)},
                    {"shard_tokens", absl::StrCat(options.shard_tokens)}};
  ASSIGN_OR_RETURN(const std::unique_ptr<ShardWriter> writer,
                   ShardWriter::Create(env, out, shards));
  // Left by an earlier pass over other input.
  if (const std::string rejects = JoinPath(out, kRejectsName); env->Exists(rejects))
    RETURN_IF_ERROR(env->RemoveFile(rejects));
  Ingester ingester(env, out, options, writer.get());
  if (absl::Status status = ingester.Run(files); !status.ok()) return Annotate(status, input);
  return ingester.Report();
}

}  // namespace tritter
