// Whatever happens to a file or text, reading it gives a status that names it and what is wrong in
// it, or what it holds; never a crash, never memory that the file only announces.
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "tests/fuzz/formats.h"
#include "tests/fuzz/mutation.h"

namespace tritter {
namespace {

constexpr int kMutations = 1000;  // of each good file

class Replay : public ::testing::TestWithParam<FuzzFormat> {};

// A place: an offset, a named field, tensor or key, or a missing part.
bool NamesAPlace(absl::string_view message) {
  for (const char* place : {"offset ",
                            "`",
                            "tensor",
                            "byte ",
                            "header",
                            "line ",
                            "'",
                            "model:",
                            "model configuration",
                            "missing",
                            "JSON",
                            "not UTF-8",
                            "$.",
                            "step ",
                            "total_size",
                            "end of the file",
                            "No such file",
                            "#",
                            "parameter ",
                            "json_schema ",
                            "expected an object",
                            "nested deeper",
                            "the end of a text is id "}) {
    if (absl::StrContains(message, place)) return true;
  }
  // 12:34: is a line and a column.
  for (size_t i = 1; i + 1 < message.size(); ++i) {
    if (message[i] == ':' && absl::ascii_isdigit(message[i - 1]) &&
        absl::ascii_isdigit(message[i + 1])) {
      return true;
    }
  }
  return false;
}

void ExpectUsefulStatus(const FuzzCase& input, const absl::Status& status) {
  using absl::StatusCode;
  static const auto* const codes = new std::set<StatusCode>{
      StatusCode::kDataLoss,           StatusCode::kUnimplemented, StatusCode::kInvalidArgument,
      StatusCode::kFailedPrecondition, StatusCode::kNotFound,      StatusCode::kResourceExhausted};
  ASSERT_TRUE(codes->count(status.code())) << status;
  ASSERT_TRUE(absl::StrContains(status.message(), input.named)) << status;
  ASSERT_TRUE(NamesAPlace(status.message())) << status;
  // What is refused is not sent back whole: gRPC has room for some kilobytes.
  for (const absl::string_view line : absl::StrSplit(status.message(), '\n'))
    ASSERT_LT(line.size(), 2000u) << line;
}

TEST_P(Replay, GoodFilesAreRead) {
  ASSERT_FALSE(GetParam().cases.empty());
  for (const FuzzCase& input : GetParam().cases) EXPECT_OK(ReadFuzzed(input, input.good()));
}

TEST_P(Replay, EveryMutationGivesAStatusThatSaysWhere) {
  for (size_t i = 0; i < GetParam().cases.size(); ++i) {
    const FuzzCase& input = GetParam().cases[i];
    Philox random(MixKey(HashString(GetParam().name), i));
    int refused = 0;
    for (int n = 0; n < kMutations; ++n) {
      const absl::Status status = ReadFuzzed(input, Mutate(input.good(), &random));
      if (status.ok()) continue;
      ++refused;
      ExpectUsefulStatus(input, status);
      if (HasFatalFailure()) FAIL() << "mutation " << n << " of case " << i;
    }
    EXPECT_GT(refused, kMutations / 5) << i;
  }
}

TEST_P(Replay, TheCorpusIsReadAndRefusedAsItsNamesSay) {
  for (const auto& [name, bytes] : FuzzCorpus(GetParam().name)) {
    SCOPED_TRACE(name);
    int read = 0;
    for (const FuzzCase& input : GetParam().cases) {
      const absl::Status status = ReadFuzzed(input, bytes);
      if (status.ok()) {
        ++read;
      } else {
        ExpectUsefulStatus(input, status);
      }
    }
    EXPECT_EQ(read > 0, absl::StartsWith(name, "ok_"));
  }
}

TEST_P(Replay, EveryLengthOfTheHeaderIsRefused) {
  for (const FuzzCase& input : GetParam().cases) {
    const size_t header = std::min<size_t>(input.good().size(), 1500);
    for (size_t length = 0; length < header; length += 1 + length / 64) {
      // Text may end in white space.
      if (input.good().substr(length).find_first_not_of(" \n") == std::string::npos) break;
      const absl::Status status = ReadFuzzed(input, input.good().substr(0, length));
      if (status.ok() && GetParam().beginnings) continue;
      ASSERT_FALSE(status.ok()) << length;
      ExpectUsefulStatus(input, status);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Replay, ::testing::ValuesIn(FuzzFormats()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tritter
