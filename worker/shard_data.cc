#include "worker/shard_data.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "curation/run_order.h"
#include "curation/shard_manifest.h"
#include "curation/shard_reader.h"

namespace tritter {
namespace {

absl::Status CheckIds(absl::Span<const int64_t> ids, int64_t vocabulary,
                      const std::string& source) {
  const auto bad =
      std::find_if(ids.begin(), ids.end(), [&](int64_t id) { return id < 0 || id >= vocabulary; });
  if (bad == ids.end()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("source ", source, ": token id ", *bad,
                                          ", the model's vocabulary is ", vocabulary));
}

class ShardData final : public EpochData {
 public:
  struct Source {
    std::string name;
    std::unique_ptr<TokenSource> train;
  };
  ShardData(const RunSpec& spec, std::vector<Source> sources,
            std::vector<std::unique_ptr<TokenSource>> held_out_tokens,
            std::vector<HeldOut> held_out, SampleOrder order, DataHashes hashes,
            const LabelWeights& label_weights)
      : length_(spec.sequence_length),
        vocabulary_(spec.model.vocab),
        sources_(std::move(sources)),
        held_out_tokens_(std::move(held_out_tokens)),
        held_out_(std::move(held_out)),
        order_(std::move(order)),
        hashes_(std::move(hashes)),
        label_weights_(label_weights) {}

  absl::StatusOr<Share> Read(int64_t first_slot, int64_t global_batch, int64_t first_position,
                             int64_t count) override {
    Share share;
    share.batch.sequences = count;
    share.batch.tokens.resize(count * (length_ + 1));
    share.batch.weights.resize(count * length_);
    std::vector<float> of_others(length_);
    const std::vector<SampleRef> refs =
        order_.Range(static_cast<uint64_t>(first_slot), static_cast<uint64_t>(global_batch));
    for (int64_t position = 0; position < global_batch; ++position) {
      const SampleRef& ref = refs[position];
      const Source& source = sources_[ref.source];
      const uint64_t first_token = ref.sample * static_cast<uint64_t>(length_);
      const int64_t row = position - first_position;
      const bool own = row >= 0 && row < count;
      // Every rank adds up all weights in the order of the positions, so that all divide by the
      // same bits, whoever has which share.
      const auto weights = own ? absl::MakeSpan(share.batch.weights).subspan(row * length_, length_)
                               : absl::MakeSpan(of_others);
      RETURN_IF_ERROR(Annotate(source.train->ReadWeights(first_token + 1, label_weights_, weights),
                               source.name));
      for (const float weight : weights) share.weight_sum += weight;
      if (!own) continue;
      const auto out = absl::MakeSpan(share.batch.tokens).subspan(row * (length_ + 1), length_ + 1);
      RETURN_IF_ERROR(Annotate(source.train->Read(first_token, out), source.name));
      RETURN_IF_ERROR(CheckIds(out, vocabulary_, source.name));
    }
    return share;
  }

  const DataHashes& hashes() const override { return hashes_; }
  const std::string& tokenizer_hash() const override { return sources_[0].train->tokenizer_hash(); }
  const std::vector<HeldOut>& held_out() const override { return held_out_; }

  std::function<bool(std::vector<int64_t>*)> Windows(size_t held_out_index,
                                                     const WindowShare& share,
                                                     absl::Status* failure) override {
    const TokenSource* tokens = held_out_tokens_[held_out_index].get();
    const std::string& name = held_out_[held_out_index].source;
    const uint64_t length = static_cast<uint64_t>(length_), total = tokens->tokens();
    // Window k predicts tokens [k·L + 1, min((k + 1)·L, total - 1)]: every token but the very
    // first, once.
    return [=, this, k = int64_t{0}](std::vector<int64_t>* window) mutable {
      if (share.count == 0) return false;
      while (!share.Has(k)) ++k;
      const uint64_t first = static_cast<uint64_t>(k++) * length;
      if (first + 1 >= total) return false;
      window->resize(std::min(length + 1, total - first));
      *failure = tokens->Read(first, absl::MakeSpan(*window));
      if (failure->ok()) *failure = CheckIds(*window, vocabulary_, name);
      return failure->ok();
    };
  }

 private:
  const int64_t length_;
  const int64_t vocabulary_;
  const std::vector<Source> sources_;
  const std::vector<std::unique_ptr<TokenSource>> held_out_tokens_;
  const std::vector<HeldOut> held_out_;
  const SampleOrder order_;
  const DataHashes hashes_;
  const LabelWeights label_weights_;
};

absl::StatusOr<LabelWeights> LabelWeightsOf(const RunSpec& spec) {
  LabelWeights weights;
  for (const auto& [name, weight] : spec.label_weights) {
    const std::optional<DocumentLabel> label = ParseDocumentLabel(name);
    if (!label.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "data.label_weights: label '", name, "', expected positive, negative or educational"));
    }
    weights[static_cast<size_t>(*label)] = static_cast<float>(weight);
  }
  return weights;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EpochData>> OpenShardData(Env* env, const RunSpec& spec) {
  std::vector<ShardData::Source> sources;
  std::vector<std::unique_ptr<TokenSource>> held_out_tokens;
  std::vector<EpochData::HeldOut> held_out;
  std::vector<uint64_t> samples_of;  // each source
  DataHashes hashes;
  std::string tokenizer_hash;  // all sources must have the same
  for (const SourceSpec& source : spec.sources) {
    ASSIGN_OR_RETURN(auto train,
                     TokenSource::Open(env, source.shards, Split::kTrain, tokenizer_hash));
    tokenizer_hash = train->tokenizer_hash();
    ASSIGN_OR_RETURN(const ShardManifest manifest, ReadShardManifest(env, source.shards));
    hashes[source.name] = HashTokens(manifest);
    const uint64_t samples = train->Samples(spec.sequence_length);
    if (samples == 0) {
      return absl::InvalidArgumentError(absl::StrCat("source ", source.name, " has ",
                                                     train->tokens(), " tokens, one sample needs ",
                                                     spec.sequence_length + 1));
    }
    samples_of.push_back(samples);
    sources.push_back({source.name, std::move(train)});
    ASSIGN_OR_RETURN(auto held,
                     TokenSource::Open(env, source.shards, Split::kHeldOut, tokenizer_hash));
    if (held->tokens() < 2) continue;
    held_out.push_back({source.name, static_cast<int64_t>(held->raw_bytes())});
    held_out_tokens.push_back(std::move(held));
  }
  ASSIGN_OR_RETURN(SampleOrder order, RunOrder(spec, samples_of));
  ASSIGN_OR_RETURN(const LabelWeights label_weights, LabelWeightsOf(spec));
  return std::unique_ptr<EpochData>(std::make_unique<ShardData>(
      spec, std::move(sources), std::move(held_out_tokens), std::move(held_out), std::move(order),
      std::move(hashes), label_weights));
}

}  // namespace tritter
