#include "tests/build_graph/rules.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tritter::build_graph {
namespace {

// A folder may know itself, the build's own folders (bazel, third_party), and these.
const std::map<std::string, std::set<std::string>>& MayKnow() {
  static const auto* const table = new std::map<std::string, std::set<std::string>>{
      {"common", {}},
      {"proto", {}},
      {"access", {"common", "proto"}},
      {"kernels", {}},
      {"model", {"kernels", "common"}},
      {"curation", {"model", "common"}},
      {"monitoring", {"common"}},
      // curation: shard manifests and the sample order, to refuse missing data and too many passes
      // at submission.
      {"coordinator", {"access", "proto", "model", "curation", "common", "monitoring"}},
      {"worker", {"access", "kernels", "model", "curation", "proto", "common", "monitoring"}},
      {"inference", {"access", "kernels", "model", "proto", "common", "monitoring"}},
      {"tritterctl",
       {"access", "proto", "model", "curation", "kernels", "common"}},  // kernels: bench
  };
  return *table;
}

bool IsTorch(const std::string& label) { return absl::StartsWith(label, "@torch//"); }

bool IsGrpc(const std::string& label) {
  return label == "//third_party/system:grpc" || label == "//third_party/system:grpc_reflection" ||
         label == "//proto:tritter_grpc" || label == "//proto:access_grpc";
}

bool IsAbseil(const std::string& label) { return label == "//third_party/system:absl"; }

bool MaySpeakGrpc(const std::string& label, const std::set<std::string>& roots) {
  for (const char* folder : {"common", "kernels", "model", "curation", "monitoring"}) {
    if (Folder(label) == folder) return false;
  }
  if (roots.count(label) || Folder(label) == "proto" || Folder(label) == "third_party") return true;
  for (const char* suffix : {"_service", "_client", "_main"}) {
    if (absl::EndsWith(label, suffix)) return true;
  }
  return false;
}

// The first step of a path from `from` to a label that `is_goal`; "" when there is none.
template <typename Goal>
const std::string& StepTowards(const Graph& graph, const std::string& from, Goal is_goal,
                               std::map<std::string, std::string>* known) {
  const auto found = known->find(from);
  if (found != known->end()) return found->second;
  (*known)[from] = "";  // the graph has no cycles; also the answer for leaves
  const auto node = graph.find(from);
  if (node != graph.end()) {
    for (const std::string& next : node->second) {
      if (is_goal(next) || !StepTowards(graph, next, is_goal, known).empty()) {
        return (*known)[from] = next;
      }
    }
  }
  return (*known)[from];
}

}  // namespace

Graph ParseDot(absl::string_view dot) {
  Graph graph;
  for (absl::string_view line : absl::StrSplit(dot, '\n')) {
    //   "//a:b" -> "//c:d"
    const std::vector<std::string> parts = absl::StrSplit(line, '"');
    if (parts.size() == 5 && absl::StrContains(parts[2], "->")) {
      graph[parts[1]].insert(parts[3]);
    } else if (parts.size() == 3) {
      graph[parts[1]];
    }
  }
  return graph;
}

std::string Folder(const std::string& label) {
  if (!absl::StartsWith(label, "//")) return "";
  return label.substr(2, label.find_first_of("/:", 2) - 2);
}

std::vector<std::string> Violations(const Graph& graph, const std::set<std::string>& roots) {
  std::vector<std::string> violations;
  std::map<std::string, std::string> to_torch, to_grpc, to_abseil;
  for (const auto& [label, dependencies] : graph) {
    const std::string folder = Folder(label);
    const auto row = MayKnow().find(folder);
    if (row == MayKnow().end()) continue;  // bazel, third_party, tests
    for (const std::string& dependency : dependencies) {
      const std::string other = Folder(dependency);
      const bool ours = MayKnow().count(other) || other == "tests";
      if (ours && other != folder && !row->second.count(other)) {
        violations.push_back(absl::StrCat("folders: ", label, " -> ", dependency, " (", folder,
                                          "/ may not know ", other, "/)"));
      }
    }
    if (folder != "worker") {
      const std::string& step = StepTowards(graph, label, IsTorch, &to_torch);
      if (!step.empty()) {
        violations.push_back(
            absl::StrCat("torch: ", label, " -> ", step, " (LibTorch is for worker/ alone)"));
      }
    }
    if (folder == "kernels") {
      const std::string& step = StepTowards(graph, label, IsAbseil, &to_abseil);
      if (!step.empty()) {
        violations.push_back(
            absl::StrCat("abseil: ", label, " -> ", step, " (kernels/ stands alone)"));
      }
    }
    if (!MaySpeakGrpc(label, roots)) {
      const std::string& step = StepTowards(graph, label, IsGrpc, &to_grpc);
      if (!step.empty()) {
        violations.push_back(
            absl::StrCat("grpc: ", label, " -> ", step,
                         " (only *_service, *_client, *_main and binaries of the servers "
                         "and tritterctl)"));
      }
    }
  }
  return violations;
}

}  // namespace tritter::build_graph
