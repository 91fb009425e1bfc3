#include "curation/shard_writer.h"

#include <array>
#include <cmath>
#include <cstring>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
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

constexpr char kTemporaryName[] = "unfinished.shard.tmp";
constexpr int kHashDigits = 16;  // of the SHA-256, in a shard's name

bool IsHash(absl::string_view hex) {
  return hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

// <prefix>-<5 digits>-<16 hex digits>.shard
bool IsShardName(absl::string_view name) {
  if (!absl::ConsumePrefix(&name, "train-") && !absl::ConsumePrefix(&name, "heldout-"))
    return false;
  const size_t dash = name.find('-');
  return dash >= 5 && dash != absl::string_view::npos &&
         name.find_first_not_of("0123456789") == dash && absl::ConsumeSuffix(&name, ".shard") &&
         name.size() == dash + 1 + kHashDigits &&
         name.find_first_not_of("0123456789abcdef", dash + 1) == absl::string_view::npos;
}

}  // namespace

bool IsShardFolderFile(absl::string_view name) {
  return name == kShardManifestName || name == kTemporaryName || IsShardName(name);
}

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

ShardWriter::~ShardWriter() {
  if (!switched_ && earlier_.has_value()) RemoveUnlisted(*earlier_);
}

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
  RETURN_IF_ERROR(writer->LookAtEarlier());
  return writer;
}

absl::Status ShardWriter::LookAtEarlier() {
  const std::string manifest = JoinPath(folder_, kShardManifestName);
  if (!env_->Exists(manifest)) {
    earlier_ = ShardManifest();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string json, env_->ReadFile(manifest));
  absl::StatusOr<ShardManifest> earlier = ShardManifestFromJson(json, manifest);
  // A damaged manifest of ours may be replaced; a stranger's file may not.
  if (!earlier.ok() && !absl::StrContains(json, "\"tokenizer\"")) {
    return absl::FailedPreconditionError(absl::StrCat(
        manifest, ": is not a manifest of shards; choose another output folder or remove it"));
  }
  if (earlier.ok()) earlier_ = *std::move(earlier);
  return absl::OkStatus();
}

void ShardWriter::RemoveUnlisted(const ShardManifest& manifest) {
  const absl::StatusOr<std::vector<std::string>> names = env_->ListDir(folder_);
  if (!names.ok()) return;
  std::set<std::string> listed = {kShardManifestName};
  for (const SplitEntry* split : {&manifest.train, &manifest.heldout}) {
    for (const ShardEntry& shard : split->shards) listed.insert(shard.file);
  }
  for (const std::string& name : *names) {
    if (IsShardFolderFile(name) && listed.count(name) == 0)
      env_->RemoveFile(JoinPath(folder_, name)).IgnoreError();
  }
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
  if (!(document.weight > 0) || !std::isfinite(document.weight)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shards: document weight: expected more than 0, actual ", document.weight));
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

  Sha256Hasher hasher;
  const std::array<const std::string*, 5> parts = {&head, &pending->tokens, &padding,
                                                   &pending->offsets, &pending->records};
  for (const std::string* part : parts) hasher.Update(*part);

  ShardEntry entry;
  entry.bytes = header.file_bytes();
  entry.sha256 = Hex(hasher.Finish());
  // Named by its contents: a file of an earlier data set is only ever replaced by its equal.
  entry.file = absl::StrFormat("%s-%05d-%s.shard", pending->prefix, pending->entry->shards.size(),
                               entry.sha256.substr(0, kHashDigits));
  const std::string temporary = JoinPath(folder_, kTemporaryName);
  const absl::Status written = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, env_->NewWritableFile(temporary));
    for (const std::string* part : parts) RETURN_IF_ERROR(file->Append(*part));
    RETURN_IF_ERROR(file->Sync());
    RETURN_IF_ERROR(file->Close());
    return env_->Rename(temporary, JoinPath(folder_, entry.file));
  }();
  if (!written.ok()) {
    env_->RemoveFile(temporary).IgnoreError();  // the first error is the one that counts
    return written;
  }

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
  switched_ = true;  // perhaps: an error may come after the rename
  RETURN_IF_ERROR(WriteFileAtomically(env_, JoinPath(folder_, kShardManifestName),
                                      ShardManifestToJson(manifest_)));
  RemoveUnlisted(manifest_);
  return manifest_;
}

}  // namespace tritter
