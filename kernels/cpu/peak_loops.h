// Loops that do one thing as fast as the CPU can, for kernels/machine_peaks.h.
#pragma once

#include <cstdint>

namespace tritter {

uint64_t SumWords(const uint64_t* words, int64_t count);

bool HasInt8DotProduct();
// vpdpbusd on registers, `rounds` times as many as hide its latency. Returns the int8 operations.
int64_t Int8DotProducts(int64_t rounds);

}  // namespace tritter
