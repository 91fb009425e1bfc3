#include "model/testing/checkpoint_store_conformance.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using absl::StatusCode;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr int kRanks = 2;

std::string ShareName(int rank) {
  return absl::StrCat("share-", rank, "-of-", kRanks, ".safetensors");
}

std::string Content(const CheckpointAttempt& attempt, int rank) {
  return absl::StrCat("tensors of rank ", rank, " at step ", attempt.step, ", attempt ",
                      attempt.name);
}

// Empty when it cannot be opened.
std::string ReadShare(CheckpointStore* store, int64_t step, int rank) {
  const absl::StatusOr<std::unique_ptr<CheckpointReader>> reader = store->Open(step);
  EXPECT_OK(reader.status());
  if (!reader.ok()) return "";
  const absl::StatusOr<std::unique_ptr<MappedFile>> file = (*reader)->Open(ShareName(rank));
  EXPECT_OK(file.status());
  if (!file.ok()) return "";
  return std::string((*file)->bytes().begin(), (*file)->bytes().end());
}

absl::Status Verify(CheckpointStore* store, int64_t step) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> reader, store->Open(step));
  return VerifyCheckpoint(*reader);
}

}  // namespace

absl::StatusOr<CheckpointManifest> PutShares(CheckpointStore* store,
                                             const CheckpointAttempt& attempt) {
  CheckpointManifest m;
  m.run_id = "r-1";
  m.step = attempt.step;
  m.epoch = 2;
  m.attempt = attempt.name;
  m.spec_hash = Sha256Hex("name: x");
  m.spec_yaml = "name: x";
  m.code_version = "0.1.0";
  m.next_slot = attempt.step * 16;
  std::vector<std::unique_ptr<WritableFile>> files;
  for (int rank = 0; rank < kRanks; ++rank) {
    RETURN_IF_ERROR(store->Create());
    RETURN_IF_ERROR(store->Begin(attempt));
    ASSIGN_OR_RETURN(files.emplace_back(), store->Put(attempt, ShareName(rank)));
  }
  for (const bool second_half : {false, true}) {
    for (int rank = 0; rank < kRanks; ++rank) {
      const std::string content = Content(attempt, rank);
      const size_t half = content.size() / 2;
      RETURN_IF_ERROR(
          files[rank]->Append(second_half ? content.substr(half) : content.substr(0, half)));
    }
  }
  for (int rank = 0; rank < kRanks; ++rank) {
    RETURN_IF_ERROR(files[rank]->Sync());
    RETURN_IF_ERROR(files[rank]->Close());
    const std::string content = Content(attempt, rank);
    m.files.push_back({ShareName(rank), content.size(), Sha256Hex(content)});
  }
  return m;
}

absl::Status WriteAndCommit(CheckpointStore* store, const CheckpointAttempt& attempt) {
  ASSIGN_OR_RETURN(const CheckpointManifest manifest, PutShares(store, attempt));
  return store->Commit(manifest).status();
}

TEST_P(CheckpointStoreConformance, WhatWasCommittedIsRead) {
  ASSERT_OK_AND_ASSIGN(const CheckpointManifest manifest, PutShares(store_.get(), {200, "e2"}));
  ASSERT_OK_AND_ASSIGN(const auto committed, store_->Commit(manifest));
  const auto later = medium_->Open();
  EXPECT_THAT(*later->Steps(), ElementsAre(200));
  ASSERT_OK_AND_ASSIGN(const auto reader, later->Open(200));
  EXPECT_EQ(ManifestToJson(reader->manifest()), ManifestToJson(manifest));
  EXPECT_EQ(reader->manifest_sha256(), Sha256Hex(ManifestToJson(manifest)));
  EXPECT_EQ(committed->manifest_sha256(), reader->manifest_sha256());
  EXPECT_EQ(committed->bytes(), reader->bytes());
  EXPECT_EQ(reader->bytes(), ManifestToJson(manifest).size() + Content({200, "e2"}, 0).size() +
                                 Content({200, "e2"}, 1).size());
  EXPECT_OK(VerifyCheckpoint(*reader));
  EXPECT_EQ(ReadShare(later.get(), 200, 1), Content({200, "e2"}, 1));
  EXPECT_THAT(reader->Open("share-7"), StatusIs(StatusCode::kNotFound));
}

TEST_P(CheckpointStoreConformance, AStoreThatHoldsNothingYetIsNoError) {
  EXPECT_THAT(*store_->Steps(), IsEmpty());
  EXPECT_THAT(*store_->CleanUp(""), IsEmpty());
  EXPECT_OK(store_->Remove(200));
  ASSERT_OK(store_->Create());
  ASSERT_OK(store_->Create());
  EXPECT_THAT(*store_->Steps(), IsEmpty());
  EXPECT_THAT(store_->Open(200), StatusIs(StatusCode::kNotFound));
}

TEST_P(CheckpointStoreConformance, AnAttemptIsNoCheckpoint) {
  ASSERT_OK(PutShares(store_.get(), {200, "e2"}));
  EXPECT_THAT(*store_->Steps(), IsEmpty());
  EXPECT_THAT(store_->Open(200), StatusIs(StatusCode::kNotFound));
  EXPECT_EQ(*store_->FileBytes({200, "e2"}, ShareName(0)), Content({200, "e2"}, 0).size());
  EXPECT_THAT(store_->FileBytes({200, "e1"}, ShareName(0)), StatusIs(StatusCode::kNotFound));
}

TEST_P(CheckpointStoreConformance, AFileGivenUpIsNotThereAndMayBePutAgain) {
  ASSERT_OK(store_->Create());
  ASSERT_OK(store_->Begin({200, "e2"}));
  {
    ASSERT_OK_AND_ASSIGN(const auto file, store_->Put({200, "e2"}, ShareName(0)));
    ASSERT_OK(file->Append("half a sh"));
  }
  EXPECT_THAT(store_->FileBytes({200, "e2"}, ShareName(0)), StatusIs(StatusCode::kNotFound));
  ASSERT_OK(WriteAndCommit(store_.get(), {200, "e2"}));
  EXPECT_OK(Verify(store_.get(), 200));
}

TEST_P(CheckpointStoreConformance, CommitMayBeRepeated) {
  ASSERT_OK_AND_ASSIGN(const CheckpointManifest manifest, PutShares(store_.get(), {200, "e2"}));
  ASSERT_OK_AND_ASSIGN(const auto first, store_->Commit(manifest));
  ASSERT_OK_AND_ASSIGN(const auto again, store_->Commit(manifest));
  EXPECT_EQ(first->manifest_sha256(), again->manifest_sha256());
  EXPECT_OK(Verify(store_.get(), 200));
}

TEST_P(CheckpointStoreConformance, CommitSaysWhenTheAttemptIsGone) {
  ASSERT_OK_AND_ASSIGN(const CheckpointManifest manifest, PutShares(store_.get(), {200, "e2"}));
  ASSERT_THAT(*store_->CleanUp("e3"), SizeIs(1));
  EXPECT_THAT(store_->Commit(manifest), StatusIs(StatusCode::kDataLoss, HasSubstr("is gone")));
}

TEST_P(CheckpointStoreConformance, ALaterAttemptTakesThePlaceOfAnEarlierOne) {
  ASSERT_OK(WriteAndCommit(store_.get(), {200, "e1"}));
  ASSERT_OK(WriteAndCommit(store_.get(), {200, "e2"}));
  ASSERT_OK(store_->CleanUp(""));
  EXPECT_THAT(*store_->Steps(), ElementsAre(200));
  EXPECT_OK(Verify(store_.get(), 200));
  EXPECT_EQ(ReadShare(store_.get(), 200, 0), Content({200, "e2"}, 0));
}

TEST_P(CheckpointStoreConformance, RemoveTakesOneCheckpoint) {
  for (const int64_t step : {1000, 200, 400}) ASSERT_OK(WriteAndCommit(store_.get(), {step, "e1"}));
  EXPECT_THAT(*store_->Steps(), ElementsAre(200, 400, 1000));
  ASSERT_OK(store_->Remove(400));
  ASSERT_OK(store_->Remove(400));
  EXPECT_THAT(*store_->Steps(), ElementsAre(200, 1000));
  EXPECT_THAT(store_->Open(400), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(*store_->CleanUp(""), IsEmpty());
  EXPECT_OK(Verify(store_.get(), 200));
}

TEST_P(CheckpointStoreConformance, CleanUpTakesDeadAttemptsOnly) {
  ASSERT_OK(WriteAndCommit(store_.get(), {200, "e1"}));
  ASSERT_OK_AND_ASSIGN(const CheckpointManifest live, PutShares(store_.get(), {400, "e2"}));
  ASSERT_OK(PutShares(store_.get(), {400, "e1"}));
  EXPECT_THAT(*store_->CleanUp("e2"), SizeIs(1));
  EXPECT_OK(Verify(store_.get(), 200));
  EXPECT_OK(store_->Commit(live).status());
  EXPECT_THAT(*store_->CleanUp(""), IsEmpty());
  EXPECT_OK(Verify(store_.get(), 400));
}

TEST_P(CheckpointStoreConformance, EveryFileThatIsNotWhatTheManifestSaysIsNamed) {
  ASSERT_OK(WriteAndCommit(store_.get(), {200, "e1"}));
  ASSERT_OK_AND_ASSIGN(const auto reader, store_->Open(200));
  const auto check = [&] {
    std::vector<absl::Status> out;
    for (const CheckedFile& file : CheckCheckpointFiles(*reader)) out.push_back(file.status);
    return out;
  };
  const std::string right = Content({200, "e1"}, 0);
  std::string flipped = right;
  flipped[3] ^= 1;
  medium_->Overwrite(*reader, ShareName(0), &flipped);
  EXPECT_THAT(check(), ElementsAre(StatusIs(StatusCode::kDataLoss,
                                            testing::AllOf(HasSubstr(ShareName(0)),
                                                           HasSubstr(Sha256Hex(flipped)),
                                                           HasSubstr(Sha256Hex(right)))),
                                   IsOk()));
  const std::string cut = Content({200, "e1"}, 1).substr(1);
  medium_->Overwrite(*reader, ShareName(1), &cut);
  EXPECT_THAT(check(),
              ElementsAre(StatusIs(StatusCode::kDataLoss),
                          StatusIs(StatusCode::kDataLoss,
                                   HasSubstr(absl::StrCat("has ", cut.size(), " bytes, expected ",
                                                          cut.size() + 1)))));
  medium_->Overwrite(*reader, ShareName(0), &right);
  medium_->Overwrite(*reader, ShareName(1), nullptr);
  EXPECT_THAT(check(),
              ElementsAre(IsOk(), StatusIs(StatusCode::kDataLoss, HasSubstr("is missing"))));
  EXPECT_THAT(VerifyCheckpoint(*reader), StatusIs(StatusCode::kDataLoss, HasSubstr(ShareName(1))));
}

// The ranks write at the same time, the coordinator commits and drops the oldest: whichever change
// is the last before the world stops, and whatever of it is lost, a new process finds the newest
// checkpoint or the one before, whole; it cleans up and goes on.
TEST_P(CheckpointStoreConformance, EveryCrashPointOfWritingCommittingAndRemovingLosesNothing) {
  bool committed = false, removed = false;
  int newest_300 = 0, newest_200 = 0;
  const int cases = medium_->ForEachCrashPoint(
      [](CheckpointStore* store) {
        RETURN_IF_ERROR(WriteAndCommit(store, {100, "e1"}));
        return WriteAndCommit(store, {200, "e1"});
      },
      [&](CheckpointStore* store) {
        committed = removed = false;
        RETURN_IF_ERROR(WriteAndCommit(store, {300, "e2"}));
        committed = true;
        RETURN_IF_ERROR(store->Remove(100));
        removed = true;
        return absl::OkStatus();
      },
      [&](CheckpointStore* store, const std::string& where) {
        ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> steps, store->Steps());
        ASSERT_THAT(steps,
                    AnyOf(ElementsAre(100, 200), ElementsAre(100, 200, 300), ElementsAre(200, 300)))
            << where;
        if (committed) EXPECT_EQ(steps.back(), 300) << where;
        if (removed) EXPECT_EQ(steps.front(), 200) << where;
        (steps.back() == 300 ? newest_300 : newest_200)++;
        for (const int64_t step : steps) EXPECT_OK(Verify(store, step)) << where;
        ASSERT_OK(store->CleanUp("").status()) << where;
        EXPECT_THAT(*store->CleanUp(""), IsEmpty()) << where;
        EXPECT_EQ(*store->Steps(), steps) << where;
        for (const int64_t step : {300, 400}) {  // trained again, and on
          ASSERT_OK(WriteAndCommit(store, {step, "e3"})) << where;
          EXPECT_OK(Verify(store, step)) << where;
        }
        EXPECT_EQ(store->Steps()->back(), 400) << where;
      });
  EXPECT_GT(cases, 10);
  EXPECT_GT(newest_300, 0);
  EXPECT_GT(newest_200, 0);
}

TEST_P(CheckpointStoreConformance, EveryCrashPointOfCleaningUpLosesNothing) {
  medium_->ForEachCrashPoint(
      [](CheckpointStore* store) {
        RETURN_IF_ERROR(WriteAndCommit(store, {200, "e1"}));
        RETURN_IF_ERROR(PutShares(store, {400, "e1"}).status());
        return PutShares(store, {400, "e2"}).status();
      },
      [&](CheckpointStore* store) { return store->CleanUp("").status(); },
      [&](CheckpointStore* store, const std::string& where) {
        EXPECT_THAT(*store->Steps(), ElementsAre(200)) << where;
        EXPECT_OK(Verify(store, 200)) << where;
        EXPECT_OK(store->CleanUp("").status()) << where;
        EXPECT_THAT(*store->CleanUp(""), IsEmpty()) << where;
      });
}

// The process lives on after a failed change: the same call again succeeds from wherever it
// stopped.
TEST_P(CheckpointStoreConformance, CommitAndRemoveCanBeRepeatedAfterAFailureAtEveryPoint) {
  for (const bool half : {false, true}) {
    for (int64_t n = 1, step = 100; n > 0; ++n, step += 100) {
      ASSERT_OK_AND_ASSIGN(const CheckpointManifest manifest,
                           PutShares(store_.get(), {step, "e2"}));
      const CheckpointMedium::StoreAct act = [&](CheckpointStore* store) {
        RETURN_IF_ERROR(store->Commit(manifest).status());
        return store->Remove(step - 100);
      };
      const bool tripped = medium_->ActWithFault(n, half, act);
      ASSERT_OK(act(store_.get())) << n;
      EXPECT_OK(Verify(store_.get(), step)) << n;
      EXPECT_THAT(*store_->Steps(), ElementsAre(step)) << n;
      if (tripped) continue;
      EXPECT_GT(n, 2);
      ASSERT_OK(store_->Remove(step));
      break;
    }
  }
}

}  // namespace tritter
