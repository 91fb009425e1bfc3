// The training state on disk: which rank writes which tensor, the snapshot that is written, and
// reading it back.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint_store.h"
#include "worker/collective.h"
#include "worker/training/copy_pool.h"
#include "worker/training/optimizer_state.h"
#include "worker/training/parallel.h"
#include "worker/training/parameter_store.h"
#include "worker/training/trainer.h"

namespace tritter {

// Of weights, moments and averages of the parameters that `rank` writes (AssignShares), and of what
// it has of its own of all of them (sync outer).
int64_t ShareBytes(const ParameterStore& parameters, const OptimizerState& state, int rank,
                   int world_size);

// Copies them, into memory of the pool.
std::unique_ptr<TrainerSnapshot> CopyState(const ParameterStore& parameters,
                                           const OptimizerState& state, int64_t step, int rank,
                                           int world_size, CopyPool* pool, ParallelRows* parallel);

// Reads every weight, and what `state` keeps, from the shares of a checkpoint. Of what every rank
// has of its own (sync outer) a rank takes that of rank `rank` mod the number of ranks that wrote
// it; a state that is the same on all ranks takes that of rank 0, and where there is none of any
// rank's own all take what there is. Residuals and outer momentum that no share has are zero.
// Errors: those of the files; NotFound (a tensor that no share has); FailedPrecondition (a tensor
// of another shape or type, one that this run does not have).
absl::Status ReadState(const CheckpointReader& checkpoint, int rank, ParameterStore* parameters,
                       OptimizerState* state);

// SHA-256 of the SHA-256 of every parameter's weight, moments and average. A sharded state (one
// that does not keep all) is hashed by all ranks together, each its own part, to the same value.
absl::StatusOr<std::string> HashState(const ParameterStore& parameters, const OptimizerState& state,
                                      const std::vector<int>& owners, Collective* collective);

// What travels at a time in the two below; a collective copies it.
inline constexpr int64_t kExchangePieceBytes = int64_t{16} << 20;

// The whole state of `root`, with its number of steps done, reaches every rank that takes it; what
// the others have is only read. All ranks call it; none of them is sharded. Errors: the
// collective's, after which who takes has a part of the state.
absl::Status BroadcastState(int root, bool take, Collective* collective, int64_t* step,
                            ParameterStore* parameters, OptimizerState* state);

// Each owner's ranges of `flat` (in the order of the parameters, `owners` by slot) reach every
// rank, bit for bit. Errors: the collective's.
absl::Status ExchangeOwned(const std::vector<ParameterSlot>& slots, const std::vector<int>& owners,
                           Collective* collective, float* flat);
// The same of ranges that lie anywhere: `pack` copies values [first, first + count) of a slot, by
// index, to `packed`, `unpack` copies them from there.
using CopySlot = std::function<void(size_t slot, int64_t first, int64_t count, float* packed)>;
absl::Status ExchangeOwned(const std::vector<ParameterSlot>& slots, const std::vector<int>& owners,
                           Collective* collective, const CopySlot& pack, const CopySlot& unpack);

}  // namespace tritter
