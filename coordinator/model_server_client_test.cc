#include "coordinator/model_server_client.h"

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

TEST(LoadModelOnServer, AServerThatIsAwayIsToldInOneSentence) {
  // Nobody listens on port 1.
  EXPECT_THAT(LoadModelOnServer(ClientSecurity(), "127.0.0.1:1", "m"),
              StatusIs(absl::StatusCode::kUnavailable,
                       testing::StrCaseEq("cannot be reached: Connection refused")));
}

}  // namespace
}  // namespace tritter
