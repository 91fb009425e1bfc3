// The weights of one model, whatever they are stored in: what export and import read from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"

namespace tritter {

// Where weights come from; travels through every form, so that an import is exported as it was.
struct WeightOrigin {
  std::string run_id;
  int64_t step = 0;
  std::string weights;  // "averaged", "raw"
  // SHA-256 of the checkpoint's manifest; "" where the weights come from another form.
  std::string checkpoint_hash;
  // ByteTokenizer().hash(), or that of a foreign tokenizer.json (HashOfTokenizerJson).
  std::string tokenizer_hash;
};

// One ternary matrix [out, in]: W = scale · q.
struct TernaryCodes {
  std::vector<int8_t> q;      // -1, 0, +1, row by row
  std::vector<float> scales;  // [out], or [1] with granularity tensor
};

// Opened and checked: every parameter is there with its shape. Not thread-safe.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const WeightOrigin& origin() const = 0;
  // The values of one parameter of ParameterTable(config()), row by row; valid until the next call.
  // Errors: FailedPrecondition (NaN or infinity), DataLoss, NotFound.
  virtual absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) = 0;
  // A ternary matrix that is stored as codes, as it is; valid until the next call. Null where
  // weights are stored: their codes are what the rule makes of Get (TernaryCodesOf in
  // model/packed_tensor.h). Errors: those of Get.
  virtual absl::StatusOr<const TernaryCodes*> GetCodes(const ParameterSpec& /*parameter*/) {
    return nullptr;
  }
};

}  // namespace tritter
