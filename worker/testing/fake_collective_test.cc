#include "worker/testing/fake_collective.h"

#include "worker/testing/collective_conformance.h"

namespace tritter {
namespace {

INSTANTIATE_TEST_SUITE_P(Fake, CollectiveConformance,
                         testing::Values(GroupFactory{"two", 2, [] { return MakeFakeGroup(2); }},
                                         GroupFactory{"three", 3,
                                                      [] { return MakeFakeGroup(3); }}));

}  // namespace
}  // namespace tritter
