// A contract is read without the code behind it: everything declared says what it means.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

namespace pb = google::protobuf;

class Uncommented {
 public:
  void File(const pb::FileDescriptor& file) {
    file_ = file.name();
    for (int i = 0; i < file.message_type_count(); ++i) Message(*file.message_type(i));
    for (int i = 0; i < file.enum_type_count(); ++i) Enum(*file.enum_type(i));
    for (int i = 0; i < file.service_count(); ++i) {
      Check(*file.service(i));
      for (int m = 0; m < file.service(i)->method_count(); ++m) Check(*file.service(i)->method(m));
    }
  }
  const std::vector<std::string>& names() const { return names_; }
  int checked() const { return checked_; }

 private:
  template <typename Descriptor>
  void Check(const Descriptor& d) {
    ++checked_;
    pb::SourceLocation at;
    const bool known = d.GetSourceLocation(&at);
    if (!known || (at.leading_comments.empty() && at.trailing_comments.empty())) {
      names_.push_back(absl::StrCat(d.full_name(), " (", file_, ":", at.start_line + 1, ")"));
    }
  }
  void Message(const pb::Descriptor& message) {
    Check(message);
    for (int i = 0; i < message.field_count(); ++i) Check(*message.field(i));
    // Of `optional` fields and maps protoc makes oneofs and messages that nobody wrote.
    for (int i = 0; i < message.real_oneof_decl_count(); ++i) Check(*message.oneof_decl(i));
    for (int i = 0; i < message.nested_type_count(); ++i) {
      if (!message.nested_type(i)->options().map_entry()) Message(*message.nested_type(i));
    }
    for (int i = 0; i < message.enum_type_count(); ++i) Enum(*message.enum_type(i));
  }
  void Enum(const pb::EnumDescriptor& type) {
    Check(type);
    for (int i = 0; i < type.value_count(); ++i) Check(*type.value(i));
  }

  std::string file_;
  std::vector<std::string> names_;
  int checked_ = 0;
};

// `path`: what protoc --descriptor_set_out --include_source_info wrote.
Uncommented Look(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  pb::FileDescriptorSet files;
  EXPECT_TRUE(files.ParseFromIstream(&in)) << path;
  pb::DescriptorPool pool;
  Uncommented result;
  for (const pb::FileDescriptorProto& file : files.file()) {
    const pb::FileDescriptor* built = pool.BuildFile(file);
    EXPECT_NE(built, nullptr) << file.name();
    if (built != nullptr) result.File(*built);
  }
  return result;
}

TEST(Contract, SaysWhatEveryDeclarationMeans) {
  const Uncommented found = Look("proto/contract.descriptors");
  EXPECT_GT(found.checked(), 300);
  EXPECT_THAT(found.names(), testing::IsEmpty())
      << "say unit, range, who sets it and what zero means, at each of these";
}

TEST(Contract, ACommentIsForOneDeclaration) {
  EXPECT_THAT(Look("proto/bare.descriptors").names(),
              testing::ElementsAre("Bare (bare.proto:4)", "Bare.b (bare.proto:7)",
                                   "Bare.either (bare.proto:8)", "NONE (bare.proto:14)",
                                   "S (bare.proto:17)", "S.Call (bare.proto:18)"));
}

}  // namespace
}  // namespace tritter
