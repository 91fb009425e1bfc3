#include "common/address_list.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/net.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<std::vector<std::string>> ParseAddressList(absl::string_view list) {
  std::vector<std::string> addresses;
  for (const absl::string_view part : absl::StrSplit(list, ',')) {
    std::string address(absl::StripAsciiWhitespace(part));
    RETURN_IF_ERROR(ParseHostPort(address).status());
    if (std::find(addresses.begin(), addresses.end(), address) != addresses.end())
      return absl::InvalidArgumentError(absl::StrCat(address, " is there twice in \"", list, "\""));
    addresses.push_back(std::move(address));
  }
  return addresses;
}

}  // namespace tritter
