#include "worker/training/state_share.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/safetensors.h"

namespace tritter {
namespace {

// Name in a checkpoint of what is rank's own: "adam_m/x" is "adam_m@2/x".
std::string LocalName(absl::string_view name, int rank) {
  const size_t slash = name.find('/');
  return absl::StrCat(name.substr(0, slash), "@", rank, name.substr(slash));
}

// A tensor's name in a checkpoint without the rank, and the rank: -1 where it is no rank's own.
struct SplitName {
  std::string name;
  int rank = -1;
};
SplitName SplitLocalName(const std::string& name) {
  const size_t at = name.find('@'), slash = name.find('/');
  SplitName out;
  if (at >= slash || slash == std::string::npos ||
      !absl::SimpleAtoi(absl::string_view(name).substr(at + 1, slash - at - 1), &out.rank) ||
      out.rank < 0) {
    return {name, -1};
  }
  out.name = name.substr(0, at) + name.substr(slash);
  return out;
}

// What not every checkpoint has that a run may begin with: one of another sync, or of a run without
// momentum or compression. It is zero then.
bool IsOuterOnly(absl::string_view name) {
  return absl::StartsWith(name, "outer_residual/") || absl::StartsWith(name, "outer_momentum/");
}

// What `rank` writes: the tensors of its parameters, and what is its own of all.
std::vector<StateTensor> OwnTensors(const ParameterStore& parameters, const OptimizerState& state,
                                    int rank, int world_size) {
  std::vector<StateTensor> tensors;
  const std::vector<int> owners = AssignShares(parameters.slots(), world_size);
  for (size_t i = 0; i < owners.size(); ++i) {
    if (owners[i] != rank && !state.is_local()) continue;
    for (StateTensor& tensor : StateTensors(parameters, state, i)) {
      if (owners[i] != rank && !tensor.local) continue;
      if (tensor.local) tensor.name = LocalName(tensor.name, rank);
      tensors.push_back(std::move(tensor));
    }
  }
  return tensors;
}

class Snapshot : public TrainerSnapshot {
 public:
  Snapshot(std::vector<StateTensor> tensors, CopiedPieces copy, int64_t step, int rank,
           int world_size)
      : step_(step),
        rank_(rank),
        world_size_(world_size),
        tensors_(std::move(tensors)),
        copy_(std::move(copy)) {}
  int64_t step() const override { return step_; }

  absl::StatusOr<std::vector<ManifestFile>> WriteShare(
      CheckpointStore* store, const CheckpointAttempt& attempt) const override {
    std::vector<TensorToWrite> tensors;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      tensors.push_back({tensors_[i].name, tensors_[i].dtype, tensors_[i].shape, copy_.piece(i)});
    }
    const std::string name = absl::StrCat("share-", rank_, "-of-", world_size_, ".safetensors");
    ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, store->Put(attempt, name));
    ASSIGN_OR_RETURN(const WrittenFile written,
                     WriteSafetensors(file.get(), name, tensors, {{"step", absl::StrCat(step_)}}));
    return std::vector<ManifestFile>{{name, written.bytes, written.sha256}};
  }

 private:
  const int64_t step_;
  const int rank_, world_size_;
  const std::vector<StateTensor> tensors_;  // their data is the state's own: never read here
  const CopiedPieces copy_;
};

}  // namespace

int64_t ShareBytes(const ParameterStore& parameters, const OptimizerState& state, int rank,
                   int world_size) {
  int64_t bytes = 0;
  for (const StateTensor& tensor : OwnTensors(parameters, state, rank, world_size))
    bytes += tensor.bytes;
  return bytes;
}

std::unique_ptr<TrainerSnapshot> CopyState(const ParameterStore& parameters,
                                           const OptimizerState& state, int64_t step, int rank,
                                           int world_size, CopyPool* pool, ParallelRows* parallel) {
  std::vector<StateTensor> tensors = OwnTensors(parameters, state, rank, world_size);
  std::vector<absl::Span<const uint8_t>> pieces;
  for (const StateTensor& tensor : tensors)
    pieces.push_back(absl::MakeConstSpan(tensor.data, tensor.bytes));
  return std::make_unique<Snapshot>(std::move(tensors), pool->Copy(pieces, parallel), step, rank,
                                    world_size);
}

absl::Status ReadState(const CheckpointReader& checkpoint, int rank, ParameterStore* parameters,
                       OptimizerState* state) {
  std::map<std::string, MutableStateTensor> missing;
  for (size_t i = 0; i < parameters->slots().size(); ++i) {
    for (MutableStateTensor& tensor : MutableStateTensors(parameters, state, i))
      missing.emplace(tensor.name, std::move(tensor));
  }
  std::vector<std::unique_ptr<SafetensorsFile>> shares;
  int sets = 0;  // ranks that have left something of their own
  for (const ManifestFile& file : checkpoint.manifest().files) {
    ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapped, checkpoint.Open(file.name));
    ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> share,
                     SafetensorsFile::Open(std::move(mapped), checkpoint.LocationOf(file.name)));
    for (const std::string& name : share->names())
      sets = std::max(sets, SplitLocalName(name).rank + 1);
    shares.push_back(std::move(share));
  }
  const int set = sets > 0 && state->is_local() ? rank % sets : 0;
  bool has_residual = false, has_momentum = false;
  for (size_t i = 0; i < shares.size(); ++i) {
    const std::string path = checkpoint.LocationOf(checkpoint.manifest().files[i].name);
    for (const std::string& name : shares[i]->names()) {
      const SplitName split = SplitLocalName(name);
      has_residual |= absl::StartsWith(split.name, "outer_residual/");
      has_momentum |= absl::StartsWith(split.name, "outer_momentum/");
      const auto wanted = missing.find(split.name);
      const bool of_others = split.rank >= 0 && split.rank != set;
      if (wanted == missing.end() || of_others) {
        // Of a parameter that another rank keeps, of another rank, or not used here; or of none.
        const absl::StatusOr<const ParameterSlot*> slot =
            parameters->Find(name.substr(name.find('/') + 1));
        const bool kept = slot.ok() && state->slots()[*slot - parameters->slots().data()].kept;
        if (slot.ok() && (!kept || of_others || IsOuterOnly(split.name))) continue;
        return absl::FailedPreconditionError(
            absl::StrCat(path, ": tensor ", name,
                         " does not belong to the model and optimiser of this run; was it written "
                         "with another configuration?"));
      }
      const MutableStateTensor& want = wanted->second;
      ASSIGN_OR_RETURN(TensorView tensor, shares[i]->Get(name));
      if (tensor.dtype != want.dtype || tensor.shape != want.shape) {
        return absl::FailedPreconditionError(
            absl::StrCat(path, ": tensor ", name, " is ", DTypeName(tensor.dtype), " [",
                         absl::StrJoin(tensor.shape, ", "), "], expected ", DTypeName(want.dtype),
                         " [", absl::StrJoin(want.shape, ", "), "]"));
      }
      std::memcpy(want.data, tensor.bytes.data(), tensor.bytes.size());
      missing.erase(wanted);
    }
  }
  std::erase_if(missing, [&](const auto& left) {
    const bool absent = absl::StartsWith(left.first, "outer_residual/")   ? !has_residual
                        : absl::StartsWith(left.first, "outer_momentum/") ? !has_momentum
                                                                          : false;
    if (absent) std::memset(left.second.data, 0, left.second.bytes);
    return absent;
  });
  if (!missing.empty()) {
    return absl::NotFoundError(absl::StrCat(checkpoint.location(), ": no share holds ",
                                            missing.begin()->first, " (and ", missing.size() - 1,
                                            " more)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> HashState(const ParameterStore& parameters, const OptimizerState& state,
                                      const std::vector<int>& owners, Collective* collective) {
  std::vector<Sha256Digest> digests(parameters.slots().size());
  for (size_t i = 0; i < digests.size(); ++i) {
    if (!state.slots()[i].kept) continue;
    Sha256Hasher hasher;
    for (const StateTensor& tensor : StateTensors(parameters, state, i))
      hasher.Update(tensor.data, tensor.bytes);
    digests[i] = hasher.Finish();
  }
  if (!state.keeps_all()) {
    for (int root = 0; root < collective->world_size(); ++root) {
      std::vector<Sha256Digest> theirs = digests;
      RETURN_IF_ERROR(collective->Broadcast(
          theirs.data(), static_cast<int64_t>(theirs.size() * sizeof(Sha256Digest)), root));
      for (size_t i = 0; i < digests.size(); ++i) {
        if (owners[i] == root) digests[i] = theirs[i];
      }
    }
  }
  Sha256Hasher hasher;
  hasher.Update(digests.data(), digests.size() * sizeof(Sha256Digest));
  return Hex(hasher.Finish());
}

absl::Status BroadcastState(int root, bool take, Collective* collective, int64_t* step,
                            ParameterStore* parameters, OptimizerState* state) {
  constexpr int64_t kChunk = kExchangePieceBytes;
  int64_t theirs = *step;
  RETURN_IF_ERROR(collective->Broadcast(&theirs, sizeof(theirs), root));
  std::vector<absl::Span<uint8_t>> rest;  // what has not been sent, in the order of the parameters
  int64_t total = 0;
  for (size_t i = 0; i < parameters->slots().size(); ++i) {
    for (const MutableStateTensor& tensor : MutableStateTensors(parameters, state, i)) {
      rest.push_back(absl::MakeSpan(tensor.data, tensor.bytes));
      total += tensor.bytes;
    }
  }
  std::vector<uint8_t> chunk(std::min(kChunk, total));
  size_t next = 0;
  for (int64_t left = total; left > 0;) {
    const int64_t size = std::min(kChunk, left);
    std::vector<absl::Span<uint8_t>> pieces;
    for (int64_t missing = size; missing > 0;) {
      pieces.push_back(rest[next].first(std::min<size_t>(rest[next].size(), missing)));
      missing -= static_cast<int64_t>(pieces.back().size());
      rest[next].remove_prefix(pieces.back().size());
      if (rest[next].empty()) ++next;
    }
    const auto copy = [&](bool pack) {
      uint8_t* at = chunk.data();
      for (const absl::Span<uint8_t> piece : pieces) {
        std::memcpy(pack ? at : piece.data(), pack ? piece.data() : at, piece.size());
        at += piece.size();
      }
    };
    if (collective->rank() == root) copy(true);
    RETURN_IF_ERROR(collective->Broadcast(chunk.data(), size, root));
    if (take) copy(false);
    left -= size;
  }
  if (take) *step = theirs;
  return absl::OkStatus();
}

absl::Status ExchangeOwned(const std::vector<ParameterSlot>& slots, const std::vector<int>& owners,
                           Collective* collective, float* flat) {
  const auto at = [&](size_t slot, int64_t first) { return flat + slots[slot].offset + first; };
  return ExchangeOwned(
      slots, owners, collective,
      [&](size_t slot, int64_t first, int64_t count, float* packed) {
        std::memcpy(packed, at(slot, first), count * sizeof(float));
      },
      [&](size_t slot, int64_t first, int64_t count, float* packed) {
        std::memcpy(at(slot, first), packed, count * sizeof(float));
      });
}

absl::Status ExchangeOwned(const std::vector<ParameterSlot>& slots, const std::vector<int>& owners,
                           Collective* collective, const CopySlot& pack, const CopySlot& unpack) {
  constexpr int64_t kPiece = kExchangePieceBytes / static_cast<int64_t>(sizeof(float));
  struct Range {
    size_t slot;
    int64_t first, count;
  };
  FloatBuffer packed;
  std::vector<Range> piece;
  int64_t size = 0;  // of the piece
  const auto send = [&](int root) -> absl::Status {
    if (size == 0) return absl::OkStatus();
    float* const values = packed.Reserve(size);
    const auto copy_all = [&](const CopySlot& copy) {
      float* next = values;
      for (const Range& range : piece) {
        copy(range.slot, range.first, range.count, next);
        next += range.count;
      }
    };
    if (root == collective->rank()) copy_all(pack);
    RETURN_IF_ERROR(
        collective->Broadcast(values, size * static_cast<int64_t>(sizeof(float)), root));
    if (root != collective->rank()) copy_all(unpack);
    piece.clear();
    size = 0;
    return absl::OkStatus();
  };
  for (int root = 0; root < collective->world_size(); ++root) {
    for (size_t i = 0; i < slots.size(); ++i) {
      if (owners[i] != root) continue;
      for (int64_t first = 0; first < slots[i].size;) {
        const int64_t count = std::min(kPiece - size, slots[i].size - first);
        piece.push_back({i, first, count});
        size += count;
        first += count;
        if (size == kPiece) RETURN_IF_ERROR(send(root));
      }
    }
    RETURN_IF_ERROR(send(root));
  }
  return absl::OkStatus();
}

}  // namespace tritter
