#include "common/testing/env_conformance.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"

namespace tritter {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

void EnvConformance::Write(const std::string& path, absl::string_view data) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<WritableFile> file, env_->NewWritableFile(path));
  ASSERT_OK(file->Append(data));
  ASSERT_OK(file->Close());
}

TEST_P(EnvConformance, WhatWasWrittenIsRead) {
  const std::string path = Path("f"), binary("a\0b\xff", 4);
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<WritableFile> file, env_->NewWritableFile(path));
  ASSERT_OK(file->Append(binary));
  ASSERT_OK(file->Append(""));
  ASSERT_OK(file->Append("more"));
  ASSERT_OK(file->Sync());
  ASSERT_OK(file->Close());
  ASSERT_OK(file->Close());  // idempotent
  ASSERT_OK_AND_ASSIGN(const std::string text, env_->ReadFile(path));
  EXPECT_EQ(text, binary + "more");
  ASSERT_OK_AND_ASSIGN(const uint64_t size, env_->FileSize(path));
  EXPECT_EQ(size, 8u);
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<MappedFile> mapped, env_->MapFile(path));
  EXPECT_EQ(std::string(mapped->bytes().begin(), mapped->bytes().end()), binary + "more");
}

TEST_P(EnvConformance, LargeAppendsKeepTheirOrder) {
  std::string expected;
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<WritableFile> file, env_->NewWritableFile(Path("f")));
  for (size_t bytes : {1u, 70000u, 10u, 65535u, 1u, 300000u, 5u}) {
    const std::string piece(bytes, static_cast<char>('a' + bytes % 26));
    ASSERT_OK(file->Append(piece));
    expected += piece;
  }
  ASSERT_OK(file->Close());
  ASSERT_OK_AND_ASSIGN(const std::string text, env_->ReadFile(Path("f")));
  EXPECT_TRUE(text == expected);
}

TEST_P(EnvConformance, WritingTruncates) {
  const std::string path = Path("f");
  Write(path, "long old text");
  Write(path, "new");
  ASSERT_OK_AND_ASSIGN(const std::string text, env_->ReadFile(path));
  EXPECT_EQ(text, "new");
}

TEST_P(EnvConformance, ClosedFileRefusesMore) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<WritableFile> file, env_->NewWritableFile(Path("f")));
  ASSERT_OK(file->Close());
  EXPECT_THAT(file->Append("x"), StatusIs(StatusCode::kFailedPrecondition, HasSubstr(Path("f"))));
  EXPECT_THAT(file->Sync(), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_P(EnvConformance, EmptyFileIsReadAndMapped) {
  Write(Path("f"), "");
  ASSERT_OK_AND_ASSIGN(const std::string text, env_->ReadFile(Path("f")));
  EXPECT_EQ(text, "");
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<MappedFile> mapped, env_->MapFile(Path("f")));
  EXPECT_EQ(mapped->bytes().size(), 0u);
}

TEST_P(EnvConformance, MissingFilesAreNotFoundByName) {
  const std::string path = Path("none");
  const auto not_found = StatusIs(StatusCode::kNotFound, HasSubstr(path));
  EXPECT_THAT(env_->ReadFile(path), not_found);
  EXPECT_THAT(env_->MapFile(path), not_found);
  EXPECT_THAT(env_->FileSize(path), not_found);
  EXPECT_THAT(env_->ListDir(path), not_found);
  EXPECT_THAT(env_->RemoveFile(path), not_found);
  EXPECT_THAT(env_->SyncDir(path), not_found);
  EXPECT_THAT(env_->Rename(path, Path("b")), not_found);
  EXPECT_THAT(env_->NewWritableFile(Path("none/f")), StatusIs(StatusCode::kNotFound));
  EXPECT_FALSE(env_->Exists(path));
  EXPECT_FALSE(env_->IsDirectory(path));
  EXPECT_FALSE(env_->Exists(Path("b")));
}

TEST_P(EnvConformance, FoldersAreNotFilesAndFilesNotFolders) {
  ASSERT_OK(env_->CreateDirs(Path("d")));
  Write(Path("f"), "x");
  EXPECT_THAT(env_->ReadFile(Path("d")), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(env_->MapFile(Path("d")), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(env_->FileSize(Path("d")), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(env_->NewWritableFile(Path("d")), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(env_->RemoveFile(Path("d")), StatusIs(testing::Ne(StatusCode::kOk)));
  EXPECT_THAT(env_->ListDir(Path("f")), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(env_->NewWritableFile(Path("f/g")), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(env_->CreateDirs(Path("f")), StatusIs(StatusCode::kAlreadyExists));
}

TEST_P(EnvConformance, CreateDirsMakesParentsAndMayBeRepeated) {
  ASSERT_OK(env_->CreateDirs(Path("a/b/c")));
  ASSERT_OK(env_->CreateDirs(Path("a/b/c")));
  EXPECT_TRUE(env_->IsDirectory(Path("a/b/c")));
  Write(Path("a/b/c/f"), "x");
  ASSERT_OK(env_->CreateDirs(Path("a/b")));
  EXPECT_TRUE(env_->Exists(Path("a/b/c/f")));
}

TEST_P(EnvConformance, ListIsSortedNames) {
  for (const char* name : {"b", "a", "c.tmp"}) Write(Path(name), "");
  ASSERT_OK(env_->CreateDirs(Path("aa")));
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, env_->ListDir(Path("")));
  EXPECT_THAT(names, ElementsAre("a", "aa", "b", "c.tmp"));
}

TEST_P(EnvConformance, RenameReplacesFilesAndMovesFolders) {
  Write(Path("a"), "new");
  Write(Path("b"), "old");
  ASSERT_OK(env_->Rename(Path("a"), Path("b")));
  EXPECT_FALSE(env_->Exists(Path("a")));
  ASSERT_OK_AND_ASSIGN(const std::string text, env_->ReadFile(Path("b")));
  EXPECT_EQ(text, "new");
  ASSERT_OK(env_->CreateDirs(Path("d")));
  Write(Path("d/f"), "in");
  ASSERT_OK(env_->Rename(Path("d"), Path("e")));
  ASSERT_OK_AND_ASSIGN(const std::string moved, env_->ReadFile(Path("e/f")));
  EXPECT_EQ(moved, "in");
  EXPECT_FALSE(env_->Exists(Path("d")));
  ASSERT_OK(env_->CreateDirs(Path("g")));
  EXPECT_THAT(env_->Rename(Path("g"), Path("e")), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(env_->Rename(Path("b"), Path("e")), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_P(EnvConformance, RemoveTreeTakesAllAndIsContentWithNothing) {
  ASSERT_OK(env_->CreateDirs(Path("d/e")));
  Write(Path("d/e/f"), "x");
  Write(Path("d/g"), "x");
  ASSERT_OK(env_->RemoveTree(Path("d")));
  EXPECT_FALSE(env_->Exists(Path("d")));
  ASSERT_OK(env_->RemoveTree(Path("d")));
  ASSERT_OK(env_->RemoveTree(Path("no/such/parent")));
  Write(Path("file"), "x");
  ASSERT_OK(env_->RemoveTree(Path("file")));
  EXPECT_FALSE(env_->Exists(Path("file")));
}

TEST_P(EnvConformance, MappingOutlivesRenameAndRemoval) {
  Write(Path("f"), "content");
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<MappedFile> mapped, env_->MapFile(Path("f")));
  ASSERT_OK(env_->RemoveFile(Path("f")));
  EXPECT_EQ(std::string(mapped->bytes().begin(), mapped->bytes().end()), "content");
}

TEST_P(EnvConformance, FreeBytesIsPositive) {
  ASSERT_OK_AND_ASSIGN(const uint64_t bytes, env_->FreeBytes(Path("")));
  EXPECT_GT(bytes, 0u);
}

TEST_P(EnvConformance, AtomicWriteReplacesAndLeavesNoTemporary) {
  ASSERT_OK(WriteFileAtomically(env_, Path("f"), "one"));
  ASSERT_OK(WriteFileAtomically(env_, Path("f"), "two"));
  ASSERT_OK_AND_ASSIGN(const std::string text, env_->ReadFile(Path("f")));
  EXPECT_EQ(text, "two");
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, env_->ListDir(Path("")));
  EXPECT_THAT(names, ElementsAre("f"));
  EXPECT_THAT(WriteFileAtomically(env_, Path("no/f"), "x"), StatusIs(StatusCode::kNotFound));
}

}  // namespace tritter
