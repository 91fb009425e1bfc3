// What a GGUF file of a model holds, in the terms of llama.cpp and the programs around it: names of
// tensors and keys, and which of our configurations have an architecture there. No files here.
// The same in words, with who reads what: docs/formats/gguf.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config.h"
#include "model/gguf/gguf_file.h"
#include "model/gguf/gguf_writer.h"
#include "model/weight_source.h"

namespace tritter {

// The first two lay family bitnet out in the same tensors; programs apply another activation in the
// FFN.
enum class GgufArchitecture {
  // "bitnet-b1.58" (ik_llama.cpp, bitnet.cpp): squared ReLU, as we do. A matrix has no scale of its
  // own beside its values.
  kBitnetB158,
  // "bitnet" (llama.cpp): SiLU, another function with the same work. Matrices are -1, 0, +1 beside
  // a
  // scale in F32.
  kBitnet,
  // "llama": family llama. Adjacent pairs of a head are turned, so that rows of q and k have
  // another
  // order (RowOfGguf).
  kLlama,
};
const char* GgufArchitectureName(GgufArchitecture architecture);

struct GgufOptions {
  std::optional<GgufArchitecture> architecture;  // none: the first one that the family has
  GgufType matrices = GgufType::kTQ2_0;          // the ternary ones
  GgufType embeddings = GgufType::kF16;          // embedding and head
};

// What a file of this model is written as.
GgufArchitecture GgufArchitectureOf(const ModelConfig& config, const GgufOptions& options);

// Errors: InvalidArgument naming the switch or size that has no counterpart, and what would do.
absl::Status CheckGgufExpressible(const ModelConfig& config, const GgufOptions& options);

// "layers.3.attn.q.weight" -> "blk.3.attn_q.weight".
std::string GgufTensorName(absl::string_view parameter);
// Which of our rows of the parameter stands in row `row` of the file's tensor: with heads that are
// turned in halves here and in adjacent pairs there, i and i + D/2 of a head are 2i and 2i + 1.
int64_t RowOfGguf(const ModelConfig& config, absl::string_view parameter, int64_t row);
// "….weight" -> "….scale".
std::string GgufScaleName(absl::string_view tensor);

// With the byte tokenizer where it is the model's; another one: AddTokenizer.
GgufMetadata MetadataOf(const ModelConfig& config, const WeightOrigin& origin,
                        const GgufOptions& options);

struct GgufModel {
  ModelConfig config;
  WeightOrigin origin;
};
// Errors: Unimplemented (an architecture, or a key that changes the numbers in a way we have not),
// DataLoss (keys that are missing or contradict each other), InvalidArgument (sizes that do not
// fit).
absl::StatusOr<GgufModel> ReadGgufModel(const GgufFile& file);

}  // namespace tritter
