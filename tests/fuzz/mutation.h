// Damage to bytes, drawn from a stream of random numbers: what happens to files on their way, and
// what somebody would try who wants a reader to fail.
#pragma once

#include <string>

#include "common/random.h"

namespace tritter {

// One to four of: bits flipped, the file cut, bytes left out or put in, a length or count made
// extreme (0, 1, its neighbours, 2^31, 2^63, all ones; in decimal where digits stand), a piece of
// the file copied over another, digits and signs of text changed. Half of the damage falls into the
// first 4 KB, where headers are.
std::string Mutate(std::string bytes, Philox* random);

}  // namespace tritter
