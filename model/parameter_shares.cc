#include "model/parameter_shares.h"

#include <algorithm>
#include <numeric>

namespace tritter {

std::vector<int> AssignShares(const std::vector<int64_t>& sizes, int64_t ranks) {
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return sizes[a] != sizes[b] ? sizes[a] > sizes[b] : a < b; });
  std::vector<int64_t> load(ranks, 0);
  std::vector<int> owners(sizes.size());
  for (const size_t i : order) {
    owners[i] = static_cast<int>(std::min_element(load.begin(), load.end()) - load.begin());
    load[owners[i]] += sizes[i];
  }
  return owners;
}

}  // namespace tritter
