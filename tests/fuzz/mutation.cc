#include "tests/fuzz/mutation.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

constexpr uint64_t kExtremes[] = {0,
                                  1,
                                  2,
                                  255,
                                  0x7FFFFFFF,
                                  0x80000000,
                                  0xFFFFFFFF,
                                  uint64_t{1} << 32,
                                  uint64_t{1} << 62,
                                  (uint64_t{1} << 63) - 1,
                                  uint64_t{1} << 63,
                                  ~uint64_t{0} - 1,
                                  ~uint64_t{0}};

uint64_t Extreme(Philox* random) { return kExtremes[random->Below(std::size(kExtremes))]; }

// The run of digits that begins at or behind `at` becomes another number.
void ChangeNumber(std::string* bytes, size_t at, Philox* random) {
  while (at < bytes->size() && !std::isdigit(static_cast<unsigned char>((*bytes)[at]))) ++at;
  size_t end = at;
  while (end < bytes->size() && std::isdigit(static_cast<unsigned char>((*bytes)[end]))) ++end;
  if (at == end) return;
  const std::string number = random->Below(4) == 0 ? "-1e999" : absl::StrCat(Extreme(random));
  bytes->replace(at, end - at, number);
}

void MutateOnce(std::string* bytes, Philox* random) {
  if (bytes->empty()) {
    *bytes = std::string(random->Below(64), static_cast<char>(random->Below(256)));
    return;
  }
  const uint64_t size = bytes->size();
  const uint64_t at = random->Below(random->Below(2) == 0 ? std::min<uint64_t>(size, 4096) : size);
  const uint64_t length = random->Below(random->Below(4) == 0 ? 2000 : 24);
  switch (random->Below(9)) {
    case 0:
    case 1:
      (*bytes)[at] ^= static_cast<char>(1 << random->Below(8));
      break;
    case 2:
      (*bytes)[at] = static_cast<char>(random->Below(256));
      break;
    case 3:
      bytes->resize(at);
      break;
    case 4:
      bytes->erase(at, length);
      break;
    case 5:
      bytes->insert(at, std::string(length, static_cast<char>(random->Below(256))));
      break;
    case 6: {  // little-endian, of 4 or 8 bytes
      uint64_t value = Extreme(random);
      if (random->Below(4) == 0) {
        std::memcpy(&value, bytes->data() + at, std::min<uint64_t>(8, size - at));
        value += random->Below(2) == 0 ? 1 : ~uint64_t{0};
      }
      std::memcpy(bytes->data() + at, &value,
                  std::min<uint64_t>(random->Below(2) == 0 ? 4 : 8, size - at));
      break;
    }
    case 7: {
      const uint64_t from = random->Below(size);
      const std::string piece = bytes->substr(from, length);
      bytes->replace(at, std::min<uint64_t>(piece.size(), size - at),
                     piece.substr(0, std::min<uint64_t>(piece.size(), size - at)));
      break;
    }
    case 8:
      ChangeNumber(bytes, at, random);
      break;
  }
}

}  // namespace

std::string Mutate(std::string bytes, Philox* random) {
  for (uint64_t edits = 1 + random->Below(4); edits-- > 0;) MutateOnce(&bytes, random);
  return bytes;
}

}  // namespace tritter
