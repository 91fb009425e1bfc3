// A run for tests of how runs are shown.
#pragma once

#include "tritter/v1/runs.pb.h"

namespace tritter {

// "r-1", named "demo", running: step 40 of 100, with one of everything in it.
v1::Run DemoRun();

}  // namespace tritter
