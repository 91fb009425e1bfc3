// Masks of every mode with their matrices written down pair by pair, as the specification says
// them. For tests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/attention_mask.h"

namespace tritter {

struct AttentionCase {
  std::string name;
  AttentionMask mask;
  std::function<bool(int64_t query, int64_t key)> sees;
  std::shared_ptr<std::vector<int32_t>> document_start;  // what the mask points to
};
// Every mode at every length, with small and large windows, sinks, prefixes, and documents of one
// token, of many, and one alone.
inline std::vector<AttentionCase> AttentionCases(const std::vector<int64_t>& lengths) {
  std::vector<AttentionCase> cases;
  for (const int64_t length : lengths) {
    const auto add = [&](const std::string& name, AttentionMask mask,
                         std::function<bool(int64_t, int64_t)> sees) {
      mask.length = length;
      cases.push_back(
          {name + ", length " + std::to_string(length), mask, std::move(sees), nullptr});
    };
    add("causal", {}, [](int64_t q, int64_t k) { return k <= q; });
    for (const int64_t w : {1, 2, 7, 16, 33, 1000}) {
      add("window " + std::to_string(w), {.window = w},
          [w](int64_t q, int64_t k) { return 0 <= q - k && q - k < w; });
      for (const int64_t s : {1, 4, 17}) {
        add("sinks " + std::to_string(s) + " window " + std::to_string(w),
            {.window = w, .sinks = s},
            [w, s](int64_t q, int64_t k) { return k <= q && (q - k < w || k < s); });
      }
    }
    add("bidirectional", {.prefix = length}, [](int64_t, int64_t) { return true; });
    for (const int64_t p : {1, 3, 16, 21}) {
      add("prefix " + std::to_string(p), {.prefix = p},
          [p](int64_t q, int64_t k) { return k <= q || (q < p && k < p); });
    }
    for (const std::vector<int32_t>& sizes :
         std::vector<std::vector<int32_t>>{{1000}, {1, 1, 2, 1}, {16, 3, 9}, {5, 33, 1}}) {
      auto start = std::make_shared<std::vector<int32_t>>(length);
      auto document = std::make_shared<std::vector<int32_t>>(length);
      for (int64_t t = 0, i = 0, left = sizes[0], first = 0; t < length; ++t, --left) {
        if (left == 0) {
          ++i;
          left = sizes[i % static_cast<int64_t>(sizes.size())];
          first = t;
        }
        (*start)[t] = static_cast<int32_t>(first);
        (*document)[t] = static_cast<int32_t>(i);
      }
      add("documents", {.document_start = start->data()},
          [document](int64_t q, int64_t k) { return k <= q && (*document)[q] == (*document)[k]; });
      cases.back().document_start = start;
    }
  }
  return cases;
}

}  // namespace tritter
