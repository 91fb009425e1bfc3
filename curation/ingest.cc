#include "curation/ingest.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
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

absl::string_view SeparatorOf(SplitBy split) {
  return split == SplitBy::kBlankLine ? kBlankLineSeparator : "";
}

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

// A file that appears at its path whole, or not at all: Append, Seal (durable, under another name),
// Publish.
class AtomicOutput {
 public:
  AtomicOutput(Env* env, std::string path) : env_(env), path_(std::move(path)) {}
  ~AtomicOutput() {
    if (file_ != nullptr) env_->RemoveFile(Temporary()).IgnoreError();
  }
  absl::Status Append(absl::string_view data) {
    if (file_ == nullptr) {
      ASSIGN_OR_RETURN(file_, env_->NewWritableFile(Temporary()));
    }
    return file_->Append(data);
  }
  absl::Status Seal() {
    RETURN_IF_ERROR(Append(""));
    RETURN_IF_ERROR(file_->Sync());
    return file_->Close();
  }
  absl::Status Publish() {
    RETURN_IF_ERROR(env_->Rename(Temporary(), path_));
    file_.reset();
    return env_->SyncDir(Dirname(path_));
  }

 private:
  std::string Temporary() const { return path_ + ".tmp"; }

  Env* const env_;
  const std::string path_;
  std::unique_ptr<WritableFile> file_;
};

std::string Canonical(const std::string& path) {
  std::error_code error;
  const std::filesystem::path canonical =
      std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  std::string out = error ? path : canonical.lexically_normal().string();
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

bool IsInside(absl::string_view path, absl::string_view folder) {
  return path == folder || folder == "/" ||
         (absl::ConsumePrefix(&path, folder) && absl::StartsWith(path, "/"));
}

// An output among the inputs would be read as text by the next pass, or be overwritten by this one.
absl::Status CheckApart(const std::string& input, const std::vector<std::string>& files,
                        const std::string& out, const std::string& heldout_text) {
  const std::string folder = Canonical(input), shards = Canonical(out);
  const auto refuse = [&](absl::string_view flag, const std::string& value,
                          absl::string_view actual) {
    return absl::InvalidArgumentError(absl::StrCat(flag,
                                                   ": expected a place outside the input, actual ",
                                                   value, ", ", actual, "; choose another"));
  };
  if (IsInside(shards, folder))
    return refuse("--out", out, absl::StrCat("which is in the input ", input));
  if (!heldout_text.empty()) {
    const std::string text = Canonical(heldout_text);
    if (IsInside(text, folder)) {
      return refuse("--heldout-text", heldout_text, absl::StrCat("which is in the input ", input));
    }
    for (const std::string& file : files) {
      if (text == Canonical(file)) return refuse("--heldout-text", heldout_text, "an input file");
    }
    if (Dirname(text) == shards &&
        (IsShardFolderFile(Basename(text)) || Basename(text) == kRejectsName)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--heldout-text: ", heldout_text,
                       ": curation writes a file of this name itself; choose another"));
    }
  }
  for (const std::string& file : files) {
    if (const std::string path = Canonical(file);
        Dirname(path) == shards &&
        (IsShardFolderFile(Basename(path)) || Basename(path) == kRejectsName)) {
      return refuse("--out", out, absl::StrCat("where it would replace the input file ", file));
    }
  }
  return absl::OkStatus();
}

// Whether the list of rejects in the output folder, if there is one, is one of ours.
absl::Status CheckRejectsFile(Env* env, const std::string& path) {
  if (!env->Exists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, env->ReadFile(path));
  const auto first = nlohmann::json::parse(text.substr(0, text.find('\n')), nullptr, false);
  if (first.is_object() && first.contains("reason") && first.contains("line"))
    return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      path,
      ": is not a list of rejects that curation wrote, and would be replaced; choose another "
      "output folder or move it away"));
}

// The pass over the input. Lives for one call of Ingest.
class Ingester {
 public:
  Ingester(Env* env, const std::string& out, const IngestOptions& options, ShardWriter* writer)
      : env_(env),
        options_(options),
        writer_(writer),
        separator_(SeparatorOf(options.split_by)),
        rejects_path_(JoinPath(out, kRejectsName)),
        rejects_(env, rejects_path_),
        heldout_(env, options.heldout_text) {}

  absl::StatusOr<IngestReport> Run(const std::string& input,
                                   const std::vector<std::string>& files) {
    for (const std::string& path : files) {
      ASSIGN_OR_RETURN(const uint64_t size, env_->FileSize(path));
      bytes_total_ += size;
    }
    RETURN_IF_ERROR(CheckDisk());
    for (const std::string& path : files) RETURN_IF_ERROR(AddFile(path));
    if (documents_ == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(input, ": no document: the input holds no text"));
    }
    if (rejected_in_all_ > 0) RETURN_IF_ERROR(rejects_.Seal());
    if (static_cast<double>(rejected_in_all_) >
        options_.max_reject_ratio * static_cast<double>(documents_)) {
      RETURN_IF_ERROR(rejects_.Publish());
      return absl::InvalidArgumentError(absl::StrCat(
          input, ": ", rejected_in_all_, " of ", documents_, " documents cannot be used (limit ",
          options_.max_reject_ratio * 100, " %); the reasons are in ", rejects_path_));
    }
    if (!options_.heldout_text.empty()) RETURN_IF_ERROR(heldout_.Seal());

    // From here on the output becomes what this pass read; before, it was what it had been.
    IngestReport report;
    report.documents_seen = documents_;
    ASSIGN_OR_RETURN(report.manifest, writer_->Finish(std::move(inputs_), std::move(rejected_)));
    if (rejected_in_all_ > 0) {
      report.rejects_file = rejects_path_;
      RETURN_IF_ERROR(rejects_.Publish());
    } else if (env_->Exists(rejects_path_)) {
      RETURN_IF_ERROR(env_->RemoveFile(rejects_path_));  // of an earlier pass
    }
    if (!options_.heldout_text.empty()) RETURN_IF_ERROR(heldout_.Publish());
    return report;
  }

 private:
  // Found now rather than after hours. A token takes two bytes, and a byte of text is a token.
  absl::Status CheckDisk() {
    ASSIGN_OR_RETURN(const uint64_t free, env_->FreeBytes(Dirname(rejects_path_)));
    if (free / 2 >= bytes_total_) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat(
        Dirname(rejects_path_), ": expected about ", 2 * bytes_total_,
        " bytes free for the shards, actual ", free, "; free some space and run it again"));
  }

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
      RETURN_IF_ERROR(AddDocument(path, 1, text, options_.label));
    } else if (options_.split_by == SplitBy::kJsonLine) {
      uint64_t line = 0;
      for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        RETURN_IF_ERROR(AddJsonLine(path, ++line, text.substr(at, end - at)));
        at = std::min(end + 1, text.size());
        advance(at);
      }
    } else {
      BlankLineSplitter splitter(text);
      absl::string_view document;
      uint64_t line = 0;
      while (splitter.Next(&document, &line)) {
        RETURN_IF_ERROR(AddDocument(path, line, document, options_.label));
        advance(splitter.position());
      }
    }
    advance(text.size());
    inputs_.push_back({path, text.size(), Hex(hasher.Finish())});
    return absl::OkStatus();
  }

  absl::Status AddJsonLine(const std::string& path, uint64_t line, absl::string_view json) {
    if (absl::StripAsciiWhitespace(json).empty()) return absl::OkStatus();
    const auto refuse = [&](const char* reason, const std::string& message) {
      ++documents_;
      return Reject(path, line, reason, message);
    };
    if (json.size() / 6 > options_.max_document_bytes)  // the longest form of a byte: \u001f
      return refuse("too_long", absl::StrCat(json.size(), " bytes of JSON"));
    const auto record = nlohmann::json::parse(json.begin(), json.end(), nullptr, false);
    if (!record.is_object()) return refuse("invalid_json", "expected one JSON object on the line");
    const auto text = record.find("text");
    if (text == record.end() || !text->is_string())
      return refuse("no_text", "expected a string under `text`");
    DocumentLabel label = options_.label;
    if (const auto given = record.find("label"); given != record.end()) {
      const auto known =
          given->is_string() ? ParseDocumentLabel(given->get<std::string>()) : std::nullopt;
      if (!known.has_value()) {
        return refuse(
            "unknown_label",
            absl::StrCat("label: expected positive, negative or educational, actual ",
                         given->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
      }
      label = *known;
    }
    const std::string& document = text->get_ref<const std::string&>();
    if (document.empty()) return absl::OkStatus();
    return AddDocument(path, line, document, label);
  }

  absl::Status AddDocument(const std::string& path, uint64_t line, absl::string_view text,
                           DocumentLabel label) {
    ++documents_;
    if (text.size() > options_.max_document_bytes) {
      return Reject(path, line, "too_long",
                    absl::StrCat(text.size(), " bytes, limit ", options_.max_document_bytes));
    }
    if (absl::StrContains(text, '\0'))
      return Reject(path, line, "nul_byte", "a NUL byte: not a text");
    if (!IsValidUtf8(text)) return Reject(path, line, "invalid_utf8", "not UTF-8");

    std::vector<int32_t> tokens = ByteIds(text);
    tokens.push_back(kEosId);
    const bool held_out = DigestMod(Sha256(text), 1000) < options_.heldout_per_mille;
    DocumentToWrite document;
    document.tokens = tokens;
    document.raw_bytes = text.size() + separator_.size();
    document.label = label;
    document.weight = WeightOfLabel(label);
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

absl::string_view SplitByName(SplitBy split) {
  switch (split) {
    case SplitBy::kBlankLine:
      return "blank-line";
    case SplitBy::kFile:
      return "file";
    case SplitBy::kJsonLine:
      return "jsonl";
  }
  return "blank-line";
}

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

  ShardWriterOptions shards;
  shards.source = options.source.empty() ? Basename(out) : options.source;
  shards.tokenizer_hash = ByteTokenizer().hash();
  shards.vocabulary = static_cast<uint32_t>(ByteTokenizer().vocabulary());
  shards.shard_tokens = options.shard_tokens;
  shards.options = {{"split_by", std::string(SplitByName(options.split_by))},
                    {"separator_bytes", absl::StrCat(SeparatorOf(options.split_by).size())},
                    {"label", std::string(DocumentLabelName(options.label))},
                    {"heldout_per_mille", absl::StrCat(options.heldout_per_mille)},
                    {"max_document_bytes", absl::StrCat(options.max_document_bytes)},
                    {"shard_tokens", absl::StrCat(options.shard_tokens)}};
  RETURN_IF_ERROR(CheckApart(input, files, out, options.heldout_text));
  RETURN_IF_ERROR(CheckRejectsFile(env, JoinPath(out, kRejectsName)));
  ASSIGN_OR_RETURN(const std::unique_ptr<ShardWriter> writer,
                   ShardWriter::Create(env, out, shards));
  return Ingester(env, out, options, writer.get()).Run(input, files);
}

}  // namespace tritter
