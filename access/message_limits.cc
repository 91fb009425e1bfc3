#include "access/message_limits.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::Status CheckText(const FieldDescriptor& field, const std::string& text,
                       const MessageLimits& limits, const size_t* own) {
  const size_t most = own != nullptr ? *own : limits.text;
  if (text.size() > most) {
    return absl::InvalidArgumentError(absl::StrCat(field.full_name(), " has ", text.size(),
                                                   " bytes, at most ", most, " are taken"));
  }
  const auto control =
      std::find_if(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; });
  if (own != nullptr || control == text.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field.full_name(), " has a control character (",
                   static_cast<int>(static_cast<unsigned char>(*control)), ") at byte ",
                   control - text.begin(), ", printable text is taken"));
}

absl::Status CheckField(const Message& message, const FieldDescriptor& field,
                        const MessageLimits& limits) {
  const Reflection& reflection = *message.GetReflection();
  const auto found = limits.fields.find(field.full_name());
  const size_t* const own = found == limits.fields.end() ? nullptr : &found->second;
  const bool is_text = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  const int count = field.is_repeated() ? reflection.FieldSize(message, &field) : 1;
  if (field.is_repeated()) {
    const size_t most = own != nullptr && !is_text ? *own : static_cast<size_t>(limits.list);
    if (static_cast<size_t>(count) > most) {
      return absl::InvalidArgumentError(absl::StrCat(
          field.full_name(), " has ", count, " entries, at most ", most, " are taken at a time"));
    }
  }
  for (int i = 0; i < count; ++i) {
    absl::Status status;
    if (is_text) {
      std::string scratch;
      status = CheckText(field,
                         field.is_repeated()
                             ? reflection.GetRepeatedStringReference(message, &field, i, &scratch)
                             : reflection.GetStringReference(message, &field, &scratch),
                         limits, own);
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      status = CheckMessage(field.is_repeated() ? reflection.GetRepeatedMessage(message, &field, i)
                                                : reflection.GetMessage(message, &field),
                            limits);
    } else {
      return absl::OkStatus();
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckMessage(const Message& message, const MessageLimits& limits) {
  std::vector<const FieldDescriptor*> fields;  // those that are set
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (absl::Status status = CheckField(message, *field, limits); !status.ok()) return status;
  }
  return absl::OkStatus();
}

const MessageLimits& RequestLimits() {
  static const auto* const limits =
      new MessageLimits{.fields = {
                            // The coordinator says more of what is wrong with these, or cuts them.
                            {"tritter.v1.SubmitRunRequest.yaml", size_t{2} << 20},
                            {"tritter.v1.ValidateRunRequest.yaml", size_t{2} << 20},
                            {"tritter.v1.SubmitRunRequest.base_dir", 4096},
                            {"tritter.v1.ValidateRunRequest.base_dir", 4096},
                            {"tritter.v1.ReportRequest.steps", 10000},
                            {"tritter.v1.ReportRequest.failure", size_t{1} << 20},
                            {"tritter.v1.ReportRequest.failure_detail", size_t{1} << 20},
                            {"tritter.v1.LogLine.line", size_t{1} << 20},
                        }};
  return *limits;
}

}  // namespace tritter
