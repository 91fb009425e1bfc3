#include "tritterctl/proto_json.h"

#include <google/protobuf/descriptor.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tritter {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// UPPER_SNAKE of a CamelCase type name: the prefix of its enumerators.
std::string UpperSnake(absl::string_view camel) {
  std::string out;
  for (const char c : camel) {
    if (absl::ascii_isupper(c) && !out.empty()) out.push_back('_');
    out.push_back(absl::ascii_toupper(c));
  }
  return out;
}

// `index` < 0: the field is not repeated.
OrderedJson Value(const Message& m, const FieldDescriptor* f, int index) {
  const Reflection* r = m.GetReflection();
  const bool one = index < 0;
  switch (f->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return one ? r->GetInt32(m, f) : r->GetRepeatedInt32(m, f, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return one ? r->GetInt64(m, f) : r->GetRepeatedInt64(m, f, index);
    case FieldDescriptor::CPPTYPE_UINT32:
      return one ? r->GetUInt32(m, f) : r->GetRepeatedUInt32(m, f, index);
    case FieldDescriptor::CPPTYPE_UINT64: {
      const uint64_t v = one ? r->GetUInt64(m, f) : r->GetRepeatedUInt64(m, f, index);
      if (f->name() == "incarnation") return absl::StrFormat("%016x", v);
      return v;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return one ? r->GetDouble(m, f) : r->GetRepeatedDouble(m, f, index);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return one ? r->GetFloat(m, f) : r->GetRepeatedFloat(m, f, index);
    case FieldDescriptor::CPPTYPE_BOOL:
      return one ? r->GetBool(m, f) : r->GetRepeatedBool(m, f, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumName(*(one ? r->GetEnum(m, f) : r->GetRepeatedEnum(m, f, index)));
    case FieldDescriptor::CPPTYPE_STRING:
      return one ? r->GetString(m, f) : r->GetRepeatedString(m, f, index);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (one && !r->HasField(m, f)) return nullptr;
      return ProtoToJson(one ? r->GetMessage(m, f) : r->GetRepeatedMessage(m, f, index));
  }
  return nullptr;
}

}  // namespace

std::string EnumName(const google::protobuf::EnumValueDescriptor& value) {
  const std::string prefix = UpperSnake(value.type()->name()) + "_";
  absl::string_view name = value.name();
  if (absl::StartsWith(name, prefix)) name.remove_prefix(prefix.size());
  return absl::AsciiStrToLower(name);
}

OrderedJson ProtoToJson(const Message& message) {
  OrderedJson out = OrderedJson::object();
  const google::protobuf::Descriptor* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* f = type->field(i);
    if (!f->is_repeated()) {
      out[f->name()] = Value(message, f, -1);
      continue;
    }
    OrderedJson list = OrderedJson::array();
    for (int k = 0; k < message.GetReflection()->FieldSize(message, f); ++k)
      list.push_back(Value(message, f, k));
    out[f->name()] = std::move(list);
  }
  return out;
}

}  // namespace tritter
