// What this machine can do at most, measured: the limits that benchmarks hold the kernels against.
#pragma once

#include <cstdint>

namespace tritter {

// Bytes a second that `threads` threads read together from memory, in streams of 64-byte loads over
// `bytes` in all (far more than the caches hold). Best of several passes.
double ReadBandwidth(int threads, int64_t bytes = int64_t{1} << 30);

// int8 operations a second (a product and an addition count two) of `threads` threads that do
// nothing but the widest integer dot product of this CPU on registers; 0 where it has none.
double Int8Peak(int threads, double seconds = 0.2);

}  // namespace tritter
