#include "common/address_list.h"

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Code = absl::StatusCode;

TEST(AddressList, HoldsOneOrSeveralInTheirOrder) {
  EXPECT_THAT(*ParseAddressList("127.0.0.1:7070"), ElementsAre("127.0.0.1:7070"));
  EXPECT_THAT(*ParseAddressList("b:1, [::1]:2,a:1"), ElementsAre("b:1", "[::1]:2", "a:1"));
}

TEST(AddressList, RefusesWhatIsNoAddressAndRepeats) {
  EXPECT_THAT(ParseAddressList("a:1,b"), StatusIs(Code::kInvalidArgument, HasSubstr("b")));
  EXPECT_THAT(ParseAddressList("a:1,"), StatusIs(Code::kInvalidArgument));
  EXPECT_THAT(ParseAddressList("a:1,b:2,a:1"),
              StatusIs(Code::kInvalidArgument, HasSubstr("a:1 is there twice in \"a:1,b:2,a:1\"")));
}

}  // namespace
}  // namespace tritter
