// May a run be removed with everything that is kept of it? Pure.
#pragma once

#include <string>
#include <vector>

#include "coordinator/store/records.h"

namespace tritter {

struct DeletionFacts {
  v1::RunState state = v1::RUN_STATE_UNSPECIFIED;
  std::vector<std::string> dependents;  // runs that have not ended and work on it or wait for it
  std::vector<std::string> unreadable;  // likewise, but of these it is not known
  bool busy = false;                    // its files are being read or written at this moment
  std::vector<std::string> leaving;     // workers that have not said yet that they are done with it
};

// What is in the way and what can be done about it; both empty: nothing is.
struct DeletionVerdict {
  std::string obstacle, hint;
};

// `name`: of the run, as the commands in the hint take it.
DeletionVerdict DecideDeletion(const std::string& name, const DeletionFacts& facts);

}  // namespace tritter
