#include "tritterctl/proto_json.h"

#include <gtest/gtest.h>

#include "tritter/v1/inference.pb.h"
#include "tritter/v1/runs.pb.h"

namespace tritter {
namespace {

TEST(ProtoToJson, NumbersAreNumbersAndEnumeratorsAreWords) {
  v1::Run run;
  run.set_run_id("r-1");
  run.set_state(v1::RUN_STATE_PAUSED);
  run.set_step(int64_t{1} << 40);
  run.mutable_last_metrics()->set_loss(1.5);
  run.add_members()->set_incarnation(0xfedcba9876543210u);
  const OrderedJson json = ProtoToJson(run);
  EXPECT_EQ(json["run_id"], "r-1");
  EXPECT_EQ(json["state"], "paused");
  EXPECT_EQ(json["step"], int64_t{1} << 40);
  EXPECT_TRUE(json["step"].is_number());
  EXPECT_EQ(json["last_metrics"]["loss"], 1.5);
  EXPECT_EQ(json["members"][0]["incarnation"], "fedcba9876543210");
}

TEST(ProtoToJson, EveryFieldIsThereInTheOrderOfTheContract) {
  const OrderedJson json = ProtoToJson(v1::Run());
  EXPECT_EQ(json.size(), static_cast<size_t>(v1::Run::descriptor()->field_count()));
  EXPECT_EQ(json.items().begin().key(), "run_id");
  EXPECT_EQ(json["state"], "unspecified");
  EXPECT_TRUE(json["last_metrics"].is_null());
  EXPECT_TRUE(json["artifacts"].is_array());
  EXPECT_TRUE(json["reason"] == "");
}

TEST(ProtoToJson, RepeatedNumbersAndBooleans) {
  v1::GenerateRequest request;
  request.add_stop_ids(3);
  request.add_stop_ids(4);
  request.add_stop("x");
  request.set_ignore_eos(true);
  const OrderedJson json = ProtoToJson(request);
  EXPECT_EQ(json["stop_ids"].dump(), "[3,4]");
  EXPECT_EQ(json["stop"].dump(), "[\"x\"]");
  EXPECT_EQ(json["ignore_eos"], true);
}

TEST(EnumName, DropsThePrefix) {
  EXPECT_EQ(EnumName(*v1::FinishReason_descriptor()->FindValueByNumber(v1::FINISH_REASON_LENGTH)),
            "length");
  EXPECT_EQ(EnumName(*v1::Phase_descriptor()->FindValueByNumber(v1::PHASE_FULL)), "full");
}

}  // namespace
}  // namespace tritter
