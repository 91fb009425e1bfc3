#include "curation/shard_writer.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/sha256.h"
#include "common/status_macros.h"

namespace tritter {

struct ShardWriter::Pending {
  Pending(const char* prefix, SplitEntry* entry) : prefix(prefix), entry(entry) {}
  const char* prefix;   // of the file name
  SplitEntry* entry;    // in the manifest
  ShardHeader header;   // counts so far
  std::string tokens;   // little-endian
  std::string offsets;  // start of each document, u64
  std::string records;  // label and weight of each document
};

namespace {

bool IsShardName(absl::string_view name) {
  return (absl::StartsWith(name, "train-") || absl::StartsWith(name, "heldout-")) &&
         absl::EndsWith(name, ".shard");
}

bool IsHash(absl::string_view hex) {
  return hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

}  // namespace

ShardWriter::ShardWriter(Env* env, std::string folder, ShardWriterOptions options)
    : env_(env),
      folder_(std::move(folder)),
      options_(std::move(options)),
      token_width_(TokenWidthFor(options_.vocabulary)),
      train_(std::make_unique<Pending>("train", &manifest_.train)),
      heldout_(std::make_unique<Pending>("heldout", &manifest_.heldout)) {
  manifest_.source = options_.source;
  manifest_.tokenizer = options_.tokenizer;
  manifest_.tokenizer_hash = options_.tokenizer_hash;
  manifest_.vocabulary = options_.vocabulary;
  manifest_.options = options_.options;
  manifest_.options_hash = HashOptions(options_.options);
}

ShardWriter::~ShardWriter() = default;

absl::StatusOr<std::unique_ptr<ShardWriter>> ShardWriter::Create(
    Env* env, const std::string& folder, const ShardWriterOptions& options) {
  if (options.source.empty()) return absl::InvalidArgumentError("shards: the source has no name");
  if (!IsHash(options.tokenizer_hash)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shards: tokenizer hash: expected 64 hex characters, actual '",
                     options.tokenizer_hash, "'"));
  }
  if (options.vocabulary == 0)
    return absl::InvalidArgumentError("shards: vocabulary: expected at least 1, actual 0");
  if (options.shard_tokens == 0)
    return absl::InvalidArgumentError("shards: shard_tokens: expected at least 1, actual 0");
  std::unique_ptr<ShardWriter> writer(new ShardWriter(env, folder, options));
  RETURN_IF_ERROR(env->CreateDirs(folder));
  RETURN_IF_ERROR(writer->Clear());
  return writer;
}

absl::Status ShardWriter::Clear() {
  const std::string manifest = JoinPath(folder_, kShardManifestName);
  if (env_->Exists(manifest)) {
    ASSIGN_OR_RETURN(const std::string json, env_->ReadFile(manifest));
    // A damaged manifest of ours may go; a stranger's file may not.
    if (!ShardManifestFromJson(json, manifest).ok() && !absl::StrContains(json, "\"tokenizer\"")) {
      return absl::FailedPreconditionError(absl::StrCat(
          manifest, ": is not a manifest of shards; choose another output folder or remove it"));
    }
    // The manifest goes first and durably: from here on nothing in the folder is a data set.
    RETURN_IF_ERROR(env_->RemoveFile(manifest));
    RETURN_IF_ERROR(env_->SyncDir(folder_));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> names, env_->ListDir(folder_));
  for (const std::string& name : names) {
    if (IsShardName(name)) RETURN_IF_ERROR(env_->RemoveFile(JoinPath(folder_, name)));
  }
  return absl::OkStatus();
}

absl::Status ShardWriter::Add(Split split, const DocumentToWrite& document) {
  if (finished_) return absl::FailedPreconditionError("shards: a document was added after Finish");
  if (document.tokens.empty())
    return absl::InvalidArgumentError("shards: a document without tokens");
  if (document.tokens.size() > options_.shard_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("shards: document length: expected at most ", options_.shard_tokens,
                     " tokens (a shard), actual ", document.tokens.size()));
  }
  for (const int32_t id : document.tokens) {
    if (id < 0 || static_cast<uint32_t>(id) >= options_.vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("shards: token id: expected 0 to ",
                                                     options_.vocabulary - 1, ", actual ", id));
    }
  }
  Pending* pending = split == Split::kTrain ? train_.get() : heldout_.get();
  if (pending->header.tokens + document.tokens.size() > options_.shard_tokens)
    RETURN_IF_ERROR(Flush(pending));

  AppendLittle64(&pending->offsets, pending->header.tokens);
  uint32_t weight_bits;
  std::memcpy(&weight_bits, &document.weight, sizeof(weight_bits));
  AppendLittle32(&pending->records, static_cast<uint32_t>(document.label));
  AppendLittle32(&pending->records, weight_bits);
  for (const int32_t id : document.tokens) {
    token_width_ == 2 ? AppendLittle16(&pending->tokens, static_cast<uint16_t>(id))
                      : AppendLittle32(&pending->tokens, static_cast<uint32_t>(id));
  }
  pending->header.tokens += document.tokens.size();
  pending->header.documents += 1;
  pending->header.raw_bytes += document.raw_bytes;
  return absl::OkStatus();
}

absl::Status ShardWriter::Flush(Pending* pending) {
  if (pending->header.documents == 0) return absl::OkStatus();
  ShardHeader& header = pending->header;
  header.token_width = token_width_;
  header.vocabulary = options_.vocabulary;
  const std::string hash = absl::HexStringToBytes(options_.tokenizer_hash);
  std::memcpy(header.tokenizer_hash.data(), hash.data(), header.tokenizer_hash.size());
  AppendLittle64(&pending->offsets, header.tokens);
  const std::string padding(
      header.offsets_offset() - header.tokens_offset() - pending->tokens.size(), '\0');
  const std::string head = EncodeShardHeader(header);

  ShardEntry entry;
  entry.file = absl::StrFormat("%s-%05d.shard", pending->prefix, pending->entry->shards.size());
  const std::string path = JoinPath(folder_, entry.file);
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, env_->NewWritableFile(path));
  Sha256Hasher hasher;
  for (const std::string* part :
       {&head, &std::as_const(pending->tokens), &padding, &std::as_const(pending->offsets),
        &std::as_const(pending->records)}) {
    hasher.Update(*part);
    RETURN_IF_ERROR(file->Append(*part));
  }
  RETURN_IF_ERROR(file->Sync());
  RETURN_IF_ERROR(file->Close());

  entry.bytes = header.file_bytes();
  entry.sha256 = Hex(hasher.Finish());
  entry.tokens = header.tokens;
  entry.documents = header.documents;
  entry.raw_bytes = header.raw_bytes;
  pending->entry->tokens += entry.tokens;
  pending->entry->documents += entry.documents;
  pending->entry->raw_bytes += entry.raw_bytes;
  pending->entry->shards.push_back(std::move(entry));
  pending->header = ShardHeader();
  pending->tokens.clear();
  pending->offsets.clear();
  pending->records.clear();
  return absl::OkStatus();
}

absl::StatusOr<ShardManifest> ShardWriter::Finish(std::vector<InputEntry> inputs,
                                                  std::map<std::string, uint64_t> rejected) {
  if (finished_) return absl::FailedPreconditionError("shards: Finish was called twice");
  finished_ = true;
  RETURN_IF_ERROR(Flush(train_.get()));
  RETURN_IF_ERROR(Flush(heldout_.get()));
  manifest_.inputs = std::move(inputs);
  manifest_.rejected = std::move(rejected);
  // The shards' names must be durable before the manifest that trusts them.
  RETURN_IF_ERROR(env_->SyncDir(folder_));
  RETURN_IF_ERROR(WriteFileAtomically(env_, JoinPath(folder_, kShardManifestName),
                                      ShardManifestToJson(manifest_)));
  return manifest_;
}

}  // namespace tritter
