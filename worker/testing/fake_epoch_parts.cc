#include "worker/testing/fake_epoch_parts.h"

#include <cstring>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/random.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/tokenizer.h"

namespace tritter {

uint64_t FakeStateAfterStep(uint64_t state, const Batch& batch, double learning_rate,
                            int64_t micro_batch) {
  uint64_t bits = 0;
  std::memcpy(&bits, &learning_rate, sizeof(bits));
  state = MixKey(state, bits, static_cast<uint64_t>(micro_batch),
                 static_cast<uint64_t>(batch.sequences));
  for (const int64_t token : batch.tokens) state = MixKey(state, static_cast<uint64_t>(token));
  return state;
}

std::string FakeShare(uint64_t state, int64_t step) { return absl::StrCat(state, " ", step); }
std::string FakeShareName(int rank, int world_size) {
  return absl::StrCat("share-", rank, "-of-", world_size, ".safetensors");
}

namespace {

class FakeSnapshot : public TrainerSnapshot {
 public:
  FakeSnapshot(FakeEpochParts* parts, uint64_t state, int64_t step, int rank, int world_size)
      : parts_(parts), state_(state), step_(step), name_(FakeShareName(rank, world_size)) {}
  int64_t step() const override { return step_; }
  absl::StatusOr<std::vector<ManifestFile>> WriteShare(
      CheckpointStore* store, const CheckpointAttempt& attempt) const override {
    if (parts_->on_write) parts_->on_write();
    const std::string contents = FakeShare(state_, step_);
    ASSIGN_OR_RETURN(auto file, store->Put(attempt, name_));
    RETURN_IF_ERROR(file->Append(contents));
    RETURN_IF_ERROR(file->Sync());
    RETURN_IF_ERROR(file->Close());
    return std::vector<ManifestFile>{{name_, contents.size(), Sha256Hex(contents)}};
  }

 private:
  FakeEpochParts* const parts_;
  const uint64_t state_;
  const int64_t step_;
  const std::string name_;
};

// One token a sequence: its slot.
class FakeData : public EpochData {
 public:
  explicit FakeData(FakeEpochParts* parts) : parts_(parts) {}
  absl::StatusOr<Share> Read(int64_t first_slot, int64_t global_batch, int64_t first_position,
                             int64_t count) override {
    if (parts_->on_read) RETURN_IF_ERROR(parts_->on_read(first_slot));
    Share share;
    share.batch.sequences = count;
    for (int64_t i = 0; i < count; ++i)
      share.batch.tokens.push_back(first_slot + first_position + i);
    share.batch.weights.assign(count, 1.0f);
    share.weight_sum = static_cast<double>(global_batch);
    return share;
  }
  const DataHashes& hashes() const override { return parts_->data_hashes; }
  const std::string& tokenizer_hash() const override { return ByteTokenizer().hash(); }
  const std::vector<HeldOut>& held_out() const override { return held_out_; }
  std::function<bool(std::vector<int64_t>*)> Windows(size_t, const WindowShare& share,
                                                     absl::Status* failure) override {
    return [parts = parts_, share, failure, left = 4](std::vector<int64_t>* window) mutable {
      while (left > 0) {
        --left;
        if (share.Has(left)) {
          if (parts->on_window) *failure = parts->on_window(static_cast<int>(share.first));
          if (!failure->ok()) return false;
          ++parts->windows_read;
          window->assign(9, 1);
          return true;
        }
      }
      return false;
    };
  }

 private:
  FakeEpochParts* const parts_;
  const std::vector<HeldOut> held_out_ = {{"text", 64}};
};

class FakeRendezvous : public Rendezvous {
 public:
  std::string address() const override { return "fake:1"; }
};

}  // namespace

class FakeTrainer : public Trainer {
 public:
  FakeTrainer(FakeEpochParts* parts, const RunSpec& spec, Collective* collective)
      : parts_(parts), spec_(spec), collective_(collective) {
    parts_->NoteTrainer(+1);
  }
  ~FakeTrainer() override { parts_->NoteTrainer(-1); }

  absl::Status InitialiseFresh() override {
    state_ = 1;
    step_ = 0;
    whole_ = true;
    return absl::OkStatus();
  }
  absl::Status Load(const CheckpointReader& checkpoint) override {
    ASSIGN_OR_RETURN(const auto share, checkpoint.Open(checkpoint.manifest().files[0].name));
    const std::vector<std::string> fields =
        absl::StrSplit(std::string(share->bytes().begin(), share->bytes().end()), ' ');
    if (fields.size() != 2 || !absl::SimpleAtoi(fields[0], &state_) ||
        !absl::SimpleAtoi(fields[1], &step_)) {
      return absl::DataLossError("not a fake share");
    }
    whole_ = true;
    return absl::OkStatus();
  }
  absl::StatusOr<StepStats> Step(const Batch& batch, double weight_sum, int64_t micro_batch,
                                 double learning_rate) override {
    if (parts_->on_step) RETURN_IF_ERROR(parts_->on_step(step_));
    // Alike on every rank, as sums of gradients are.
    double slots = 0;
    for (const int64_t token : batch.tokens) slots += static_cast<double>(token);
    double sums[2] = {slots, WishesToYield() ? 1.0 : 0.0};
    RETURN_IF_ERROR(collective_->AllReduceSum(sums, 2));
    whole_ = false;
    if (parts_->on_update) RETURN_IF_ERROR(parts_->on_update(step_));
    state_ = collective_->world_size() == 1
                 ? FakeStateAfterStep(state_, batch, learning_rate, micro_batch)
                 : MixKey(state_, static_cast<uint64_t>(sums[0]));
    ++step_;
    whole_ = true;
    parts_->Note(state_, ++executed_);
    StepStats stats;
    stats.yield = sums[1] > 0;
    stats.forward_seconds = parts_->seconds_per_sequence * static_cast<double>(batch.sequences);
    stats.loss = 1.0 / static_cast<double>(step_);
    stats.grad_norm = weight_sum;
    if (!IsOuter(spec_)) return stats;
    // A rank's own loss is none of the group's.
    round_.push_back(stats);
    stats.settled = RoundEnd(spec_, step_) == step_;
    if (stats.settled) {
      stats.round.swap(round_);
    } else {
      stats.loss = -1;
      stats.yield = false;
    }
    return stats;
  }
  int64_t step() const override { return step_; }
  bool whole() const override { return whole_ && !spec_.shard_optimizer && !IsOuter(spec_); }
  void Rebind(Collective* collective) override { collective_ = collective; }
  absl::Status ShareState(int root, bool take) override {
    if (take) whole_ = false;
    int64_t theirs[2] = {static_cast<int64_t>(state_), step_};
    RETURN_IF_ERROR(collective_->Broadcast(theirs, sizeof(theirs), root));
    if (!take) return absl::OkStatus();
    state_ = static_cast<uint64_t>(theirs[0]);
    step_ = theirs[1];
    whole_ = true;
    return absl::OkStatus();
  }
  absl::StatusOr<EvaluationResult> Evaluate(const std::function<bool(std::vector<int64_t>*)>& next,
                                            bool) override {
    double sums[2] = {0, 0};
    for (std::vector<int64_t> window; next(&window);) {
      sums[0] += 0.5 * static_cast<double>(window.size() - 1);
      sums[1] += static_cast<double>(window.size() - 1);
    }
    RETURN_IF_ERROR(collective_->AllReduceSum(sums, 2));
    return EvaluationResult{sums[0], static_cast<int64_t>(sums[1])};
  }
  // The likeliest token after any is the next byte.
  absl::StatusOr<std::vector<float>> Logits(absl::Span<const int64_t> tokens, bool) override {
    std::vector<float> logits(tokens.size() * kByteVocabulary, 0.0f);
    for (size_t t = 0; t < tokens.size(); ++t)
      logits[t * kByteVocabulary + (tokens[t] + 1) % kByteVocabulary] = 3.0f;
    return logits;
  }
  absl::StatusOr<std::unique_ptr<TrainerSnapshot>> Snapshot() override {
    return std::unique_ptr<TrainerSnapshot>(std::make_unique<FakeSnapshot>(
        parts_, state_, step_, collective_->rank(), collective_->world_size()));
  }
  absl::StatusOr<std::string> StateHash() override {
    return absl::StrCat(absl::Hex(state_, absl::kZeroPad16));
  }
  std::string description() const override { return "fake"; }

 private:
  FakeEpochParts* const parts_;
  const RunSpec spec_;
  Collective* collective_;
  std::vector<StepLoss> round_;
  uint64_t state_ = 0;
  int64_t step_ = 0;
  bool whole_ = false;
  int64_t executed_ = 0;
};

uint64_t FakeEpochParts::state() const {
  MutexLock lock(&mu_);
  return state_;
}
int64_t FakeEpochParts::steps_executed() const {
  MutexLock lock(&mu_);
  return executed_;
}
Collective* FakeEpochParts::collective() const {
  MutexLock lock(&mu_);
  return collective_;
}
int FakeEpochParts::trainers_made() const {
  MutexLock lock(&mu_);
  return made_;
}
int FakeEpochParts::trainers_alive() const {
  MutexLock lock(&mu_);
  return alive_;
}
void FakeEpochParts::NoteTrainer(int alive) {
  MutexLock lock(&mu_);
  made_ += alive > 0 ? 1 : 0;
  alive_ += alive;
}
void FakeEpochParts::Note(uint64_t state, int64_t executed) {
  MutexLock lock(&mu_);
  state_ = state;
  executed_ = executed;
}

absl::StatusOr<std::unique_ptr<EpochData>> FakeEpochParts::OpenData(const RunSpec&) {
  if (!open_data_status.ok()) return open_data_status;
  return std::unique_ptr<EpochData>(std::make_unique<FakeData>(this));
}
absl::StatusOr<std::unique_ptr<Rendezvous>> FakeEpochParts::OpenRendezvous(int) {
  return std::unique_ptr<Rendezvous>(std::make_unique<FakeRendezvous>());
}
absl::StatusOr<std::unique_ptr<Collective>> FakeEpochParts::Connect(const std::string& address,
                                                                    Rendezvous*,
                                                                    const GroupPlace& place) {
  const auto held = connect;  // a test may end before its connecting thread does
  if (held) return held(address, place.rank, place.world_size);
  return absl::UnimplementedError("this test makes no groups");
}
absl::StatusOr<std::unique_ptr<Trainer>> FakeEpochParts::CreateTrainer(const RunSpec& spec,
                                                                       Collective* collective,
                                                                       bool) {
  {
    MutexLock lock(&mu_);
    collective_ = collective;
  }
  return std::unique_ptr<Trainer>(std::make_unique<FakeTrainer>(this, spec, collective));
}

}  // namespace tritter
