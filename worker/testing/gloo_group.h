// Groups over real Gloo inside this process.
#pragma once

#include <memory>
#include <vector>

#include "worker/collective.h"

namespace tritter {

// All members, by rank; null where one could not join, which is the test's failure.
std::vector<std::unique_ptr<Collective>> MakeGlooGroup(int world_size);

}  // namespace tritter
