// Working memory of the matrix kernels: one buffer a thread, made on first use, freed with the
// thread. It lives in a unit of its own because the kernels' units may emit no shared inline code:
// a std:: template instantiated there, with AVX-512 enabled, could be the copy that the linker
// keeps for every machine.
#pragma once

#include <cstdint>

namespace tritter {

inline constexpr int64_t kKernelScratchBytes = 256 << 10;

// This thread's buffer of kKernelScratchBytes, aligned to 64. Contents are whatever the last user
// left.
uint8_t* KernelScratch();

}  // namespace tritter
