// The rules can fail: graphs made by hand, each with one violation.
#include "tests/build_graph/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tritter::build_graph {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::set<std::string> kRoots = {"//worker:tritter_worker"};

TEST(ParseDot, ReadsEdgesAndLonelyNodes) {
  const Graph graph = ParseDot(
      "digraph mygraph {\n  node [shape=box];\n  \"//a:b\"\n  \"//a:b\" -> \"//c:d\"\n"
      "  \"//a:b\" -> \"@torch//:torch_cpu\"\n  \"//c:d\"\n}\n");
  EXPECT_EQ(graph, (Graph{{"//a:b", {"//c:d", "@torch//:torch_cpu"}}, {"//c:d", {}}}));
}

TEST(Folder, IsTheFirstPart) {
  EXPECT_EQ(Folder("//common:env"), "common");
  EXPECT_EQ(Folder("//common/testing:x"), "common");
  EXPECT_EQ(Folder("@torch//:torch_cpu"), "");
}

TEST(Violations, NoneInAnAllowedGraph) {
  EXPECT_THAT(
      Violations({{"//worker:tritter_worker", {"//worker:network", "//worker:agent_client"}},
                  {"//worker:network", {"@torch//:torch_cpu", "//kernels:packing"}},
                  {"//worker:agent_client", {"//proto:tritter_grpc", "//common:env"}},
                  {"//proto:tritter_grpc", {"//third_party/system:grpc"}},
                  {"//common:env", {"//third_party/system:absl"}}},
                 kRoots),
      IsEmpty());
}

TEST(Violations, FolderThatMayNotKnowAnother) {
  EXPECT_THAT(Violations({{"//kernels:packing", {"//common:env"}}}, kRoots),
              ElementsAre(HasSubstr("folders: //kernels:packing -> //common:env")));
  EXPECT_THAT(Violations({{"//coordinator:decide", {"//worker:network"}}}, kRoots),
              ElementsAre(HasSubstr("coordinator/ may not know worker/")));
  EXPECT_THAT(Violations({{"//common:env", {"//tests/build_graph:rules"}}}, kRoots),
              ElementsAre(HasSubstr("common/ may not know tests/")));
}

TEST(Violations, TorchBehindALongWay) {
  EXPECT_THAT(
      Violations({{"//model:spec", {"//model:deep"}}, {"//model:deep", {"@torch//:torch_cpu"}}},
                 kRoots),
      ElementsAre(HasSubstr("torch: //model:deep -> @torch//:torch_cpu"),
                  HasSubstr("torch: //model:spec -> //model:deep")));
}

TEST(Violations, KernelsStandAlone) {
  EXPECT_THAT(Violations({{"//kernels:packing", {"//third_party/system:absl"}}}, kRoots),
              ElementsAre(HasSubstr("abseil: //kernels:packing")));
  EXPECT_THAT(Violations({{"//model:config", {"//third_party/system:absl"}}}, kRoots), IsEmpty());
}

TEST(Violations, FoldersWithoutGrpcHaveNoClientEither) {
  for (const char* label : {"//common:log_client", "//curation:shard_service", "//model:a_main"}) {
    EXPECT_THAT(Violations({{label, {"//third_party/system:grpc"}}}, kRoots),
                ElementsAre(HasSubstr(label)));
  }
}

TEST(Violations, GrpcBehindADomainTarget) {
  EXPECT_THAT(Violations({{"//coordinator:store", {"//coordinator:run_service"}},
                          {"//coordinator:run_service", {"//proto:tritter_grpc"}}},
                         kRoots),
              ElementsAre(HasSubstr("grpc: //coordinator:store -> //coordinator:run_service")));
  EXPECT_THAT(Violations({{"//inference:engine", {"//third_party/system:grpc"}}}, kRoots),
              ElementsAre(HasSubstr("grpc: //inference:engine")));
}

}  // namespace
}  // namespace tritter::build_graph
