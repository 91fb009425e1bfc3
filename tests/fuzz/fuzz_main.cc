// One libFuzzer target, of the format FUZZ_FORMAT. The first byte says which of its good files the
// rest takes the place of; inputs are also damaged here, as in the replay test, so that a fuzzer
// that starts with nothing gets past the first checks.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "common/random.h"
#include "tests/fuzz/formats.h"
#include "tests/fuzz/mutation.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed);

namespace tritter {
namespace {

const std::vector<FuzzCase>& Cases() {
  static const auto* const cases = [] {
    auto* out = new std::vector<FuzzCase>;
    for (FuzzFormat& format : FuzzFormats()) {
      if (format.name == FUZZ_FORMAT) *out = std::move(format.cases);
    }
    return out;
  }();
  return *cases;
}

}  // namespace
}  // namespace tritter

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto& cases = tritter::Cases();
  tritter::ReadFuzzed(cases[data[0] % cases.size()],
                      {reinterpret_cast<const char*>(data) + 1, size - 1})
      .IgnoreError();
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  tritter::Philox random(seed);
  const auto& cases = tritter::Cases();
  const uint64_t which = random.Below(cases.size());
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size < 2) bytes = std::string(1, static_cast<char>(which)) + cases[which].good();
  bytes = bytes.substr(0, 1) + tritter::Mutate(bytes.substr(1), &random);
  bytes.resize(std::min(bytes.size(), max_size));
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}
