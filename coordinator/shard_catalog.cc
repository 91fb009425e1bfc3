#include "coordinator/shard_catalog.h"

#include <memory>
#include <utility>

#include "common/status_macros.h"
#include "curation/run_order.h"
#include "curation/shard_manifest.h"
#include "curation/shard_reader.h"

namespace tritter {
namespace {

absl::Status Fill(Env* env, const SourceSpec& source, int64_t length, SourceFacts* facts) {
  ASSIGN_OR_RETURN(const ShardManifest manifest, ReadShardManifest(env, source.shards));
  ASSIGN_OR_RETURN(const std::unique_ptr<TokenSource> tokens,
                   TokenSource::Open(env, source.shards, Split::kTrain, manifest.tokenizer_hash));
  facts->samples = tokens->Samples(length);
  facts->tokenizer_hash = manifest.tokenizer_hash;
  facts->vocabulary = manifest.vocabulary;
  return absl::OkStatus();
}

// How many samples of each source the run draws.
absl::StatusOr<std::vector<uint64_t>> Draws(const RunSpec& spec,
                                            const std::vector<SourceFacts>& facts) {
  std::vector<uint64_t> samples;
  for (const SourceFacts& source : facts) samples.push_back(source.samples);
  ASSIGN_OR_RETURN(const SampleOrder order, RunOrder(spec, samples));
  return order.Counts(static_cast<uint64_t>(spec.steps * spec.global_batch));
}

}  // namespace

std::vector<SourceFacts> ShardCatalog::Inspect(const RunSpec& spec) {
  std::vector<SourceFacts> out;
  bool whole = true;
  for (const SourceSpec& source : spec.sources) {
    SourceFacts facts;
    facts.name = source.name;
    facts.status = Fill(env_, source, spec.sequence_length, &facts);
    whole = whole && facts.status.ok() && facts.samples > 0;
    out.push_back(std::move(facts));
  }
  if (!whole || out.empty()) return out;
  absl::StatusOr<std::vector<uint64_t>> draws = Draws(spec, out);
  for (size_t i = 0; i < out.size(); ++i) {
    if (draws.ok()) {
      out[i].slots = (*draws)[i];
    } else {
      out[i].status = draws.status();
    }
  }
  return out;
}

}  // namespace tritter
