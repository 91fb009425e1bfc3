#include "tritterctl/testing/demo_run.h"

namespace tritter {

v1::Run DemoRun() {
  v1::Run run;
  run.set_run_id("r-1");
  run.set_name("demo");
  run.set_project("speech");
  run.set_state(v1::RUN_STATE_RUNNING);
  run.set_reason("training");
  run.set_total_steps(100);
  run.set_step(40);
  run.set_committed_step(20);
  run.set_epoch(2);
  run.set_phase(v1::PHASE_FULL);
  v1::RunMember* member = run.add_members();
  member->set_worker("worker-0");
  member->set_incarnation(0xfedcba9876543210u);
  member->set_device("cpu avx2 x1");
  member->set_sequences(5);
  run.mutable_last_metrics()->set_step(40);
  run.mutable_last_metrics()->set_loss(1.6234);
  v1::EvaluationPoint* evaluation = run.add_last_evaluation();
  evaluation->set_step(20);
  evaluation->set_source("shakespeare");
  evaluation->set_weights("averaged");
  evaluation->set_loss(1.7);
  evaluation->set_bits_per_byte(2.314);
  evaluation->set_raw_bytes(113687);
  run.set_created_ms(1700000000000);
  run.set_tokens_per_second(21543);
  run.set_reported_tokens(2048);
  run.set_reported_seconds(0.1);
  run.set_eta_seconds(62);
  run.set_spec_yaml("name: demo\n");
  run.set_spec_hash("abc");
  run.set_run_dir("/runs/r-1");
  v1::Artifact* artifact = run.add_artifacts();
  artifact->set_kind("tpack");
  artifact->set_path("/runs/r-1/demo.tpack");
  artifact->set_bytes(1234567);
  return run;
}

}  // namespace tritter
