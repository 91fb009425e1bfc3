// What a load generator measured, as figures, a table and JSON. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tritterctl/proto_json.h"

namespace tritter {

// One request. Times count from the start of the load.
struct LoadSample {
  absl::Duration due;    // when it was to be sent
  absl::Duration first;  // its first token
  absl::Duration end;
  std::vector<absl::Duration> gaps;  // between tokens; those of one message share its gap
  int64_t prompt_tokens = 0, generated_tokens = 0;
  std::string error;  // code of a failed one; "" when it went well
};

// Nearest rank; 0 for no values.
double Percentile(std::vector<double> values, double percent);

struct LoadFigures {
  int64_t requests = 0, failed = 0;
  std::map<std::string, int64_t> errors;  // by code
  int64_t prompt_tokens = 0, generated_tokens = 0;
  double seconds = 0;  // first due to last end
  struct Spread {
    double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
  };
  Spread first_token, inter_token, whole;  // seconds, of what went well
};
LoadFigures Summarise(const std::vector<LoadSample>& samples);
std::string LoadTable(const LoadFigures& figures);
OrderedJson LoadJson(const LoadFigures& figures);

// When requests of a Poisson process with `rate` a second are due.
std::vector<absl::Duration> PoissonArrivals(double rate, int64_t count, uint64_t seed);

}  // namespace tritter
