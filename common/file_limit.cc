#include "common/file_limit.h"

#include <sys/resource.h>

namespace tritter {

int64_t RaiseFileLimit() {
  struct rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const struct rlimit raised = {limit.rlim_max, limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) != 0) return static_cast<int64_t>(limit.rlim_cur);
  return static_cast<int64_t>(raised.rlim_cur);
}

}  // namespace tritter
