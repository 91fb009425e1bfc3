#include "model/start_checkpoint.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "model/checkpoint_tensors.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr char kBase[] = "/runs/base", kRun[] = "/runs/next";

RunSpec Spec(const std::string& training = "") {
  absl::StatusOr<RunSpec> spec = ParseRunSpec(
      absl::StrCat("model: {hidden: 16, layers: 1, heads: 1, ffn: 16, vocab: 264, context: 16}\n"
                   "data: {sources: [{name: a, shards: /a}]}\ntraining: {steps: 10",
                   training, "}\n"),
      "run.yaml", "/");
  EXPECT_OK(spec);
  return *spec;
}

// A checkpoint of step 7 of the base: weights around 0, averages around 1.
void WriteBase(Env* env, const RunSpec& spec, bool finite = true, bool averages = true) {
  const auto store = CheckpointsOfRun(env, kBase);
  ASSERT_OK(store->Create());
  ASSERT_OK(store->Begin({7, "e1"}));
  ASSERT_OK_AND_ASSIGN(const auto file, store->Put({7, "e1"}, "share-0-of-1.safetensors"));
  Philox random(5);
  std::vector<std::vector<float>> values;
  std::vector<std::pair<std::string, std::vector<int64_t>>> names;
  for (const ParameterSpec& p : ParameterTable(spec.model)) {
    int64_t size = 1;
    for (const int64_t n : p.shape) size *= n;
    for (const bool average : {false, true}) {
      if (average && !averages) continue;
      std::vector<float>& v = values.emplace_back(size);
      for (float& x : v) x = static_cast<float>(random.Uniform() + (average ? 1 : 0));
      names.emplace_back((average ? "ema/" : "weight/") + p.name, p.shape);
    }
  }
  if (!finite) values.back().back() = std::nanf("");
  std::vector<TensorToWrite> tensors;
  for (size_t i = 0; i < values.size(); ++i) {
    tensors.push_back({names[i].first, DType::kF32, names[i].second,
                       absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values[i].data()),
                                           values[i].size() * sizeof(float))});
  }
  ASSERT_OK_AND_ASSIGN(const WrittenFile written,
                       WriteSafetensors(file.get(), "share", tensors, {{"step", "7"}}));
  CheckpointManifest manifest;
  manifest.run_id = "base";
  manifest.step = 7;
  manifest.attempt = "e1";
  manifest.files = {{"share-0-of-1.safetensors", written.bytes, written.sha256}};
  ASSERT_OK(store->Commit(manifest).status());
}

absl::Status WriteStart(Env* env, const RunSpec& spec, bool averaged = true) {
  const auto from = CheckpointsOfRun(env, kBase), to = CheckpointsOfRun(env, kRun);
  absl::StatusOr<std::unique_ptr<CheckpointReader>> origin = from->Open(7);
  if (!origin.ok()) return origin.status();
  CheckpointManifest manifest;
  manifest.run_id = "next";
  manifest.attempt = "e0";
  manifest.next_slot = 77;
  return WriteStartCheckpoint(**origin, averaged, spec, manifest, to.get()).status();
}

std::unique_ptr<SafetensorsFile> Share(Env* env, const std::string& run, int64_t step) {
  const auto checkpoint = CheckpointsOfRun(env, run)->Open(step);
  EXPECT_OK(checkpoint.status());
  EXPECT_OK(VerifyCheckpoint(**checkpoint));
  auto file = SafetensorsFile::Open(env, (*checkpoint)->LocationOf("share-0-of-1.safetensors"));
  EXPECT_OK(file.status());
  return *std::move(file);
}

std::string Bytes(const SafetensorsFile& file, const std::string& name) {
  const absl::StatusOr<TensorView> tensor = file.Get(name);
  EXPECT_OK(tensor.status()) << name;
  if (!tensor.ok()) return "";
  return std::string(reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size());
}

bool AllAre(const std::string& bytes, char value) {
  return !bytes.empty() &&
         std::all_of(bytes.begin(), bytes.end(), [&](char c) { return c == value; });
}

TEST(StartCheckpoint, HasTheWeightsBitForBitAndNoMoments) {
  for (const bool averaged : {false, true}) {
    MemoryEnv env;
    WriteBase(&env, Spec());
    ASSERT_OK(CheckpointsOfRun(&env, kRun)->Create());
    ASSERT_OK(WriteStart(&env, Spec(), averaged));
    const auto base = Share(&env, kBase, 7), start = Share(&env, kRun, 0);
    for (const ParameterSpec& p : ParameterTable(Spec().model)) {
      EXPECT_EQ(Bytes(*start, "weight/" + p.name),
                Bytes(*base, (averaged ? "ema/" : "weight/") + p.name));
      EXPECT_EQ(Bytes(*start, "ema/" + p.name), Bytes(*base, "ema/" + p.name));
      EXPECT_TRUE(AllAre(Bytes(*start, "adam_m/" + p.name), 0));
      EXPECT_TRUE(AllAre(Bytes(*start, "adam_v/" + p.name), 0));
    }
    EXPECT_EQ(start->names().size(), 4 * ParameterTable(Spec().model).size());
    EXPECT_EQ(start->metadata().at("step"), "0");
    ASSERT_OK_AND_ASSIGN(const auto checkpoint, CheckpointsOfRun(&env, kRun)->Open(0));
    EXPECT_EQ(checkpoint->manifest().run_id, "next");
    EXPECT_EQ(checkpoint->manifest().next_slot, 0) << "its own samples, from the first one";
  }
}

TEST(StartCheckpoint, MomentsAreThoseOfItsOwnOptimiser) {
  MemoryEnv env;
  WriteBase(&env, Spec());
  ASSERT_OK(CheckpointsOfRun(&env, kRun)->Create());
  ASSERT_OK(WriteStart(&env, Spec(", optimizer: muon, moments: 8bit")));
  const auto start = Share(&env, kRun, 0);
  std::set<std::string> kinds;
  for (const std::string& name : start->names()) kinds.insert(name.substr(0, name.find('/')));
  EXPECT_THAT(kinds,
              UnorderedElementsAre("weight", "ema", "muon_m", "adam_m", "adam_v", "adam_m_codes",
                                   "adam_m_scales", "adam_root_v_codes", "adam_root_v_scales"));
  for (const std::string& name : start->names()) {
    if (name.starts_with("adam_m_codes/")) {
      EXPECT_TRUE(AllAre(Bytes(*start, name), 127)) << "code of zero";
    } else if (!name.starts_with("weight/") && !name.starts_with("ema/")) {
      EXPECT_TRUE(AllAre(Bytes(*start, name), 0)) << name;
    }
  }
}

TEST(StartCheckpoint, WhatCannotBeginATrainingLeavesNoCheckpoint) {
  MemoryEnv env;
  ASSERT_OK(CheckpointsOfRun(&env, kRun)->Create());
  WriteBase(&env, Spec(), /*finite=*/false);
  EXPECT_THAT(WriteStart(&env, Spec()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("use an earlier")));
  ASSERT_OK(env.RemoveTree(kBase));
  WriteBase(&env, Spec(), true, /*averages=*/false);
  EXPECT_THAT(WriteStart(&env, Spec()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("tensor ema/")));
  EXPECT_THAT(*CheckpointsOfRun(&env, kRun)->Steps(), IsEmpty());
}

TEST(StartCheckpoint, ACrashAtAnyPointLeavesAWholeOneOrNone) {
  int whole = 0;
  const auto prepare = [](MemoryEnv* env) {
    WriteBase(env, Spec());
    ASSERT_OK(CheckpointsOfRun(env, kRun)->Create());
  };
  const auto act = [](Env* env) { return WriteStart(env, Spec()); };
  const auto check = [&](MemoryEnv* env, const std::string& where) {
    SCOPED_TRACE(where);
    const auto store = CheckpointsOfRun(env, kRun);
    ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> steps, store->Steps());
    if (!steps.empty()) {
      EXPECT_THAT(steps, ElementsAre(0));
      ASSERT_OK_AND_ASSIGN(const auto checkpoint, store->Open(0));
      EXPECT_OK(VerifyCheckpoint(*checkpoint));
      ++whole;
    }
    ASSERT_OK(store->CleanUp("").status());
    EXPECT_OK(WriteStart(env, Spec())) << "again";
  };
  EXPECT_GT(ForEachCrashPoint(prepare, act, check), 50);
  EXPECT_GT(whole, 0);
}

}  // namespace
}  // namespace tritter
