// The dependency rules of docs/layout.md over Bazel's target graph.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tritter::build_graph {

// Label → labels it depends on directly. Labels as Bazel prints them: //common:env,
// @torch//:torch_cpu.
using Graph = std::map<std::string, std::set<std::string>>;

// Reads the edges of `bazel query --output=graph --nograph:factored` (dot).
Graph ParseDot(absl::string_view dot);

// "common" of //common/testing:fake_clock; "" for another repository.
std::string Folder(const std::string& label);

// One line for each violation: `rule: //a:b -> //c:d (why)`. Empty when all rules hold:
//   folders   which folder may depend on which
//   torch     only worker reaches LibTorch
//   abseil    kernels does not reach Abseil
//   grpc      only *_service, *_client, *_main and binaries (`roots`) of the servers and tritterctl
//             reach gRPC
std::vector<std::string> Violations(const Graph& graph, const std::set<std::string>& roots);

}  // namespace tritter::build_graph
