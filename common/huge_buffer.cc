#include "common/huge_buffer.h"

#include <sys/mman.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/errno_status.h"

namespace tritter {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

absl::StatusOr<HugeBuffer> HugeBuffer::Allocate(size_t bytes) {
  HugeBuffer buffer;
  if (bytes == 0) return buffer;
  const size_t size = (bytes + kPage - 1) / kPage * kPage;
  const auto failed = [&](const char* what, int error) {
    return absl::ResourceExhaustedError(
        ErrnoStatus(what, absl::StrCat(size, " bytes of memory"), error).message());
  };
  if (size < bytes || size > SIZE_MAX - kHugePage) return failed("mmap", ENOMEM);
  void* const mapped = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return failed("mmap", errno);
  // What is before the first huge page and behind the last byte is given back.
  const uintptr_t begin = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = (begin + kHugePage - 1) / kHugePage * kHugePage;
  if (aligned > begin) munmap(mapped, aligned - begin);
  munmap(reinterpret_cast<void*>(aligned + size), begin + kHugePage - aligned);
  buffer.data_ = reinterpret_cast<uint8_t*>(aligned);
  buffer.size_ = size;
  madvise(buffer.data_, size, MADV_HUGEPAGE);  // advice: small pages do as well
  // Now, and not when a request is served, it shows whether there is so much memory.
  if (madvise(buffer.data_, size, MADV_POPULATE_WRITE) != 0 && errno != EINVAL)
    return failed("memory", errno);
  return buffer;
}

}  // namespace tritter
