#include "worker/text_samples.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "model/tokenizer.h"
#include "nlohmann/json.hpp"

namespace tritter {
namespace {

constexpr uint64_t kDrawStream = 0x73616d706c65;  // "sample": keys apart from those of the data

// Index of a token, by its probability at the temperature.
int64_t Draw(absl::Span<const float> logits, Philox* random) {
  const float top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> sums(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    sums[i] = sum += std::exp((static_cast<double>(logits[i]) - top) / kSampleTemperature);
  const auto at = std::upper_bound(sums.begin(), sums.end(), random->Uniform() * sum);
  return std::min(at - sums.begin(), static_cast<ptrdiff_t>(logits.size()) - 1);
}

// The text after the prompt. random null: the likeliest token each time.
absl::StatusOr<std::string> Continue(Trainer* trainer, const RunSpec& spec,
                                     const std::string& prompt, const Cancellation& cancellation,
                                     Philox* random) {
  const std::vector<int32_t> ids = ByteIds(prompt);
  std::vector<int64_t> tokens(ids.begin(), ids.end());
  std::vector<int32_t> written;
  while (static_cast<int64_t>(written.size()) < spec.sample_tokens &&
         static_cast<int64_t>(tokens.size()) <= spec.model.context) {
    if (cancellation.cancelled()) return absl::AbortedError(cancellation.cause().message());
    ASSIGN_OR_RETURN(const std::vector<float> logits, trainer->Logits(tokens, /*averaged=*/true));
    const absl::Span<const float> last =
        absl::MakeConstSpan(logits).subspan(logits.size() - logits.size() / tokens.size());
    const int64_t next = random != nullptr
                             ? Draw(last, random)
                             : std::max_element(last.begin(), last.end()) - last.begin();
    if (next == kEosId) break;
    tokens.push_back(next);
    written.push_back(static_cast<int32_t>(next));
  }
  return ByteTokenizer().Decode(written);
}

}  // namespace

absl::StatusOr<std::vector<TextSample>> SampleTexts(Trainer* trainer, const RunSpec& spec,
                                                    const Cancellation& cancellation) {
  std::vector<TextSample> samples;
  for (const std::string& prompt : spec.sample_prompts) {
    TextSample sample;
    sample.prompt = prompt;
    ASSIGN_OR_RETURN(sample.likeliest, Continue(trainer, spec, prompt, cancellation, nullptr));
    Philox random(
        MixKey(spec.seed, kDrawStream, static_cast<uint64_t>(trainer->step()), samples.size()));
    ASSIGN_OR_RETURN(sample.drawn, Continue(trainer, spec, prompt, cancellation, &random));
    samples.push_back(std::move(sample));
  }
  return samples;
}

std::string SamplesFileName(int64_t step) { return absl::StrFormat("step-%08d.json", step); }

absl::Status WriteSamples(Env* env, const std::string& run_dir, int64_t step,
                          const std::vector<TextSample>& samples) {
  nlohmann::ordered_json json = {{"step", step},
                                 {"weights", "averaged"},
                                 {"temperature", kSampleTemperature},
                                 {"samples", nlohmann::ordered_json::array()}};
  for (const TextSample& s : samples) {
    json["samples"].push_back(
        {{"prompt", s.prompt}, {"likeliest", s.likeliest}, {"drawn", s.drawn}});
  }
  const std::string folder = JoinPath(run_dir, "samples");
  if (!env->IsDirectory(run_dir)) {  // not made again: the run may have been deleted
    return absl::NotFoundError(absl::StrCat(
        run_dir, " is not there, expected the run's folder; was the run deleted, or is the shared ",
        "folder not mounted?"));
  }
  RETURN_IF_ERROR(env->CreateDirs(folder));
  return WriteFileAtomically(
      env, JoinPath(folder, SamplesFileName(step)),
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace tritter
