#include "inference/streaming/stream_plan.h"

#include "absl/strings/str_cat.h"
#include "common/direct_file.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/tiny_models.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
constexpr int64_t kUnit = DirectFile::kAlignment;  // of every size of a plan

// As the header of a real file: every tensor tiled or in F32.
TpackHeader Header(const ModelConfig& config) {
  TpackHeader header;
  header.config = config;
  for (const ParameterSpec& p : ParameterTable(config)) {
    TpackEntry entry;
    entry.name = p.name;
    entry.shape = p.shape;
    entry.type = p.kind == ParameterKind::kTernary ? TpackType::kTernaryTile16x16 : TpackType::kF32;
    const TpackSizes sizes = *ExpectedSizes(config, p, entry.type);
    entry.length = sizes.data_bytes;
    entry.scale_count = sizes.scale_count;
    header.entries.push_back(entry);
  }
  EncodeTpackHeader(&header);
  return header;
}

ModelConfig Config() { return Deep(TinyConfig(), 10); }

void ExpectWhole(const TpackHeader& header, const StreamPlan& plan) {
  int64_t layer = plan.resident_layers;
  const std::vector<EntryRange> entries = EntriesOfLayers(header);
  const auto within = [&](size_t first, size_t end, const FileRange& range) {
    EXPECT_EQ(range.begin % DirectFile::kAlignment, 0u);
    EXPECT_EQ(range.end % DirectFile::kAlignment, 0u);
    EXPECT_GE(header.entries[first].offset, range.begin);
    EXPECT_LT(header.entries[first].offset, range.begin + DirectFile::kAlignment);
    const TpackEntry& last = header.entries[end - 1];
    EXPECT_LE(std::max(last.offset + last.length, last.scale_offset + 4 * last.scale_count),
              range.end);
  };
  for (const StreamPlan::Group& group : plan.groups) {
    EXPECT_EQ(group.first, layer);
    within(entries[group.first].begin, entries[group.first + group.layers - 1].end, group.range);
    EXPECT_LE(group.range.bytes(), plan.buffer_bytes);
    layer += group.layers;
  }
  EXPECT_EQ(layer, header.config.layers);
  within(0, plan.resident_layers == 0 ? 1 : entries[plan.resident_layers - 1].end, plan.front);
  within(entries.back().end, header.entries.size(), plan.back);
}

TEST(StreamPlan, EveryTensorIsInExactlyOneRangeForEveryBudgetAndGroupSize) {
  for (const ModelConfig& config : {Config(), TinyBitnetConfig()}) {
    const TpackHeader header = Header(config);
    EXPECT_EQ(EntriesOfLayers(header).size(), static_cast<size_t>(config.layers));
    for (const int64_t layers : {1, 2, 3, 4, 10, 50}) {
      int64_t before = 0;
      for (uint64_t limit = 1000; limit < header.file_bytes + 10000; limit += 1000) {
        const auto plan = PlanStreaming(header, {static_cast<int64_t>(limit), layers}, "/m.tpack");
        if (!plan.ok()) continue;
        ExpectWhole(header, *plan);
        EXPECT_LE(plan->memory_bytes(), limit);
        EXPECT_GE(plan->resident_layers, before) << "more memory, fewer layers";
        before = plan->resident_layers;
      }
      EXPECT_EQ(before, config.layers) << "with enough memory everything stays";
    }
  }
}

TEST(StreamPlan, ALayerMoreThatFitsBesideTheBuffersStays) {
  const TpackHeader header = Header(Config());
  const auto plan_for = [&](uint64_t bytes) {
    return PlanStreaming(header, {static_cast<int64_t>(bytes), 2}, "/m.tpack");
  };
  uint64_t least = kUnit;
  while (!plan_for(least).ok()) least += kUnit;
  EXPECT_EQ(plan_for(least)->resident_layers, 0);
  EXPECT_EQ(plan_for(least)->groups.size(), 5u);
  uint64_t next = least;
  while (plan_for(next)->resident_layers == 0) next += kUnit;
  EXPECT_EQ(plan_for(next)->resident_layers, 1);
  EXPECT_EQ(plan_for(next)->groups.size(), 5u) << "4 of two layers, one of one";
  EXPECT_LT(plan_for(next)->streamed_bytes(), plan_for(least)->streamed_bytes());
}

TEST(StreamPlan, WhatCannotFitIsRefusedWithTheArithmeticAndWhatWouldHelp) {
  const TpackHeader header = Header(Config());
  const auto needed = [&](int64_t layers) {
    int64_t bytes = kUnit;
    while (!PlanStreaming(header, {bytes, layers}, "/m.tpack").ok()) bytes += kUnit;
    return bytes;
  };
  const int64_t of_four = needed(4), of_two = needed(2), of_one = needed(1);
  EXPECT_THAT(
      PlanStreaming(header, {of_four - 1, 4}, "/m.tpack"),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr(absl::StrCat("/m.tpack: with its layers streamed from disk the "
                                            "model needs ",
                                            of_four, " bytes for weights = ")),
                     HasSubstr("2 buffers of "), HasSubstr("(4 of 10 layers)"),
                     HasSubstr(absl::StrCat("--max-weight-memory allows ", of_four - 1)),
                     HasSubstr(absl::StrCat("raise it to ", of_four)),
                     HasSubstr("or say --stream-layers 3 ("))));
  EXPECT_THAT(PlanStreaming(header, {of_two - 1, 4}, "/m.tpack"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("--stream-layers 1 (")));
  EXPECT_THAT(PlanStreaming(header, {of_one - 1, 4}, "/m.tpack"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr(absl::StrCat("--stream-layers 1 (and raise it to ", of_one))));
  EXPECT_THAT(PlanStreaming(header, {of_one - 1, 1}, "/m.tpack"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr(absl::StrCat("raise it to ", of_one)),
                             ::testing::Not(HasSubstr("--stream-layers")))));
}

}  // namespace
}  // namespace tritter
