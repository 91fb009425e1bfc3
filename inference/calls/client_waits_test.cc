#include "inference/calls/client_waits.h"

#include <string>
#include <vector>

#include "common/testing/fake_clock.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ClientWaitsTest : public ::testing::Test {
 protected:
  ClientWaits::End Into(std::vector<absl::Status>* ends) {
    return [ends](const absl::Status& why) { ends->push_back(why); };
  }
  FakeClock clock_;
  ClientWaits waits_{absl::Seconds(60), &clock_};
  std::vector<absl::Status> ends_, others_;
};

TEST_F(ClientWaitsTest, EndsOnceWhatHasWaitedForTheLimitAndNothingElse) {
  const ClientWaits::Wait stream(&waits_, ClientWaits::For::kRequest, Into(&ends_));
  {
    const ClientWaits::Wait over(&waits_, ClientWaits::For::kRequest, Into(&others_));
  }
  clock_.Advance(absl::Seconds(30));
  const ClientWaits::Wait later(&waits_, ClientWaits::For::kReading, Into(&others_));
  clock_.Advance(absl::Seconds(29));
  waits_.EndOverdue();
  EXPECT_THAT(ends_, IsEmpty());
  clock_.Advance(absl::Seconds(2));
  waits_.EndOverdue();
  waits_.EndOverdue();
  EXPECT_THAT(ends_,
              ElementsAre(StatusIs(
                  absl::StatusCode::kAborted,
                  AllOf(HasSubstr("no request came on this stream for 1m, which is the limit"),
                        HasSubstr("larger --idle-limit")))));
  EXPECT_THAT(others_, IsEmpty());
  clock_.Advance(absl::Seconds(40));
  waits_.EndOverdue();
  EXPECT_THAT(others_,
              ElementsAre(StatusIs(absl::StatusCode::kAborted,
                                   AllOf(HasSubstr("nothing of the answer was read for 1m, which"),
                                         HasSubstr("larger --idle-limit")))));
}

TEST_F(ClientWaitsTest, DrainingEndsWaitsForRequestsAndAllowsNoOthers) {
  const ClientWaits::Wait stream(&waits_, ClientWaits::For::kRequest, Into(&ends_));
  const ClientWaits::Wait reading(&waits_, ClientWaits::For::kReading, Into(&others_));
  EXPECT_TRUE(stream.allowed());
  waits_.StartDraining();
  EXPECT_THAT(ends_, ElementsAre(StatusIs(absl::StatusCode::kUnavailable)));
  EXPECT_THAT(others_, IsEmpty());
  const ClientWaits::Wait next(&waits_, ClientWaits::For::kRequest, Into(&ends_));
  EXPECT_FALSE(next.allowed());
  const ClientWaits::Wait write(&waits_, ClientWaits::For::kReading, Into(&others_));
  EXPECT_TRUE(write.allowed());
}

}  // namespace
}  // namespace tritter
