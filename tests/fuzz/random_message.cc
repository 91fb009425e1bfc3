#include "tests/fuzz/random_message.h"

#include <google/protobuf/descriptor.h>

#include <cmath>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMaxDepth = 5;

bool Chance(Philox* random, uint64_t one_in) { return random->Below(one_in) == 0; }

std::string Known(const FieldDescriptor& field, const KnownValues& known, Philox* random) {
  const auto it = known.find(field.name());
  if (it == known.end() || it->second.empty()) return "";
  return it->second[random->Below(it->second.size())];
}

int64_t Integer(Philox* random) {
  constexpr int64_t kEdges[] = {0,
                                1,
                                -1,
                                2,
                                3,
                                100,
                                std::numeric_limits<int32_t>::max(),
                                std::numeric_limits<int32_t>::min(),
                                std::numeric_limits<int64_t>::max(),
                                std::numeric_limits<int64_t>::min(),
                                std::numeric_limits<int64_t>::max() - 1,
                                int64_t{1} << 53};
  switch (random->Below(3)) {
    case 0:
      return static_cast<int64_t>(random->Next64());
    case 1:
      return static_cast<int64_t>(random->Below(20));
    default:
      return kEdges[random->Below(std::size(kEdges))];
  }
}

double Real(Philox* random) {
  constexpr double kEdges[] = {0.0,
                               -0.0,
                               1.0,
                               -1.0,
                               1e300,
                               -1e300,
                               1e-310,
                               std::numeric_limits<double>::infinity(),
                               -std::numeric_limits<double>::infinity(),
                               std::numeric_limits<double>::quiet_NaN()};
  return Chance(random, 3) ? random->Normal() * 100 : kEdges[random->Below(std::size(kEdges))];
}

std::string Text(Philox* random) {
  static const auto* const texts = new std::vector<std::string>{
      "",
      "a",
      "..",
      "/",
      "../../etc/passwd",
      "/etc/passwd",
      "/dev/zero",
      std::string("a\0b", 3),
      "line\nbreak\x1b[31m",
      "größer 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
      "'; DROP TABLE runs; --",
      "%s%n%d",
      "{}",
      "name: x\nmodel: {preset: nano}\n",
      "a: &a [*a, *a]\n",
      "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
      std::string(129, 'n'),
      std::string(1025, 'x'),
      std::string(20000, 'y'),
  };
  if (!Chance(random, 8)) return (*texts)[random->Below(texts->size())];
  std::string out;
  for (uint64_t n = random->Below(40); n > 0; --n)
    out += static_cast<char>(' ' + static_cast<char>(random->Below(95)));
  return out;
}

void Fill(Message* message, const KnownValues& known, Philox* random, int depth);

void FillField(Message* message, const FieldDescriptor* field, const KnownValues& known,
               Philox* random, int depth) {
  const Reflection* const r = message->GetReflection();
  int count = 1;
  if (field->is_repeated()) {
    count = static_cast<int>(Chance(random, 40) ? 1500 : random->Below(4));
    r->ClearField(message, field);
  }
  for (int i = 0; i < count; ++i) {
    const std::string known_text = Chance(random, 4) ? "" : Known(*field, known, random);
    int64_t integer = 0;
    if (known_text.empty() || !absl::SimpleAtoi(known_text, &integer)) integer = Integer(random);
    uint64_t natural = 0;
    if (known_text.empty() || !absl::SimpleAtoi(known_text, &natural))
      natural = static_cast<uint64_t>(integer);
    const bool many = field->is_repeated();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        many ? r->AddInt32(message, field, static_cast<int32_t>(integer))
             : r->SetInt32(message, field, static_cast<int32_t>(integer));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        many ? r->AddInt64(message, field, integer) : r->SetInt64(message, field, integer);
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        many ? r->AddUInt32(message, field, static_cast<uint32_t>(natural))
             : r->SetUInt32(message, field, static_cast<uint32_t>(natural));
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        many ? r->AddUInt64(message, field, natural) : r->SetUInt64(message, field, natural);
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        many ? r->AddDouble(message, field, Real(random))
             : r->SetDouble(message, field, Real(random));
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        many ? r->AddFloat(message, field, static_cast<float>(Real(random)))
             : r->SetFloat(message, field, static_cast<float>(Real(random)));
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        many ? r->AddBool(message, field, Chance(random, 2))
             : r->SetBool(message, field, Chance(random, 2));
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        many ? r->AddEnumValue(message, field, static_cast<int>(integer))
             : r->SetEnumValue(message, field, static_cast<int>(integer));
        break;
      case FieldDescriptor::CPPTYPE_STRING: {
        const std::string text = known_text.empty() ? Text(random) : known_text;
        many ? r->AddString(message, field, text) : r->SetString(message, field, text);
        break;
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (depth >= kMaxDepth) return;
        Fill(many ? r->AddMessage(message, field) : r->MutableMessage(message, field), known,
             random, depth + 1);
        break;
    }
  }
}

void Fill(Message* message, const KnownValues& known, Philox* random, int depth) {
  const google::protobuf::Descriptor* const type = message->GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    if (!Chance(random, 4)) FillField(message, type->field(i), known, random, depth);
  }
}

}  // namespace

void FillHostile(Message* message, const KnownValues& known, Philox* random) {
  message->Clear();
  Fill(message, known, random, 0);
}

void SpoilMessage(Message* message, const KnownValues& known, Philox* random) {
  const google::protobuf::Descriptor* const type = message->GetDescriptor();
  if (type->field_count() == 0) return;
  for (uint64_t n = 1 + random->Below(2); n > 0; --n) {
    const FieldDescriptor* field =
        type->field(static_cast<int>(random->Below(static_cast<uint64_t>(type->field_count()))));
    const bool inner = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
                       !field->is_repeated() && !Chance(random, 3);
    if (inner) {
      SpoilMessage(message->GetReflection()->MutableMessage(message, field), known, random);
    } else {
      FillField(message, field, known, random, 0);
    }
  }
}

}  // namespace tritter
