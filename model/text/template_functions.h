// Filters, tests, methods and operators of chat templates, on values alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/text/template_value.h"

namespace tritter {

struct TemplateArguments {
  std::vector<TemplateValue> values;
  std::vector<std::pair<std::string, TemplateValue>> named;
  // The argument at `index` or of this name; undefined when there is none.
  TemplateValue Get(size_t index, absl::string_view name) const;
};

// Texts and lists that come of one operation; more is refused.
inline constexpr size_t kMaxTemplateBytes = size_t{16} << 20;
inline constexpr size_t kMaxTemplateItems = 100'000;

// Errors of all: InvalidArgument for values that do not fit, Unimplemented for a name that is not
// known, ResourceExhausted for results beyond the bounds; messages without a position.
absl::StatusOr<TemplateValue> ApplyFilter(const std::string& name, const TemplateValue& value,
                                          const TemplateArguments& arguments);
absl::StatusOr<bool> ApplyTest(const std::string& name, const TemplateValue& value,
                               const TemplateArguments& arguments);
absl::StatusOr<TemplateValue> CallMethod(const std::string& name, const TemplateValue& value,
                                         const TemplateArguments& arguments);
absl::StatusOr<TemplateValue> ApplyOperator(const std::string& name, const TemplateValue& left,
                                            const TemplateValue& right);
absl::StatusOr<TemplateValue> ItemOf(const TemplateValue& value, const TemplateValue& key);
// `begin`, `end`, `step`: whole numbers, or none and undefined where not given.
absl::StatusOr<TemplateValue> SliceOf(const TemplateValue& value, const TemplateValue& begin,
                                      const TemplateValue& end, const TemplateValue& step);
// What a loop over `value` goes through.
absl::StatusOr<TemplateList> ItemsToLoop(const TemplateValue& value);

}  // namespace tritter
