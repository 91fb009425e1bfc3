// A coordinator for tests of `tritterctl local`: one run that is running until the file
// <data-dir>/finish exists. With <data-dir>/failed at the start it is there already, and failed.
// With <data-dir>/earlier there is another one, of the configuration in that file, which is
// training.
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/shutdown.h"
#include "tritterctl/testing/demo_run.h"
#include "tritterctl/testing/fake_coordinator_service.h"

int main(int argc, char** argv) {
  using namespace tritter;
  InstallShutdownHandlers();
  CommandLine app("fake coordinator");
  std::string listen, data_dir, metrics_listen, ready_file;
  app.AddFlag("--listen", &listen, "");
  app.AddFlag("--data-dir", &data_dir, "");
  app.AddFlag("--metrics-listen", &metrics_listen, "");
  app.AddFlag("--ready-file", &ready_file, "");
  if (const std::optional<int> exit_code = ParseFlags(&app, argc, argv)) return *exit_code;
  FakeCoordinator coordinator(listen);
  if (Env::Real()->Exists(JoinPath(data_dir, "failed"))) {
    v1::Run run = DemoRun();
    run.set_state(v1::RUN_STATE_FAILED);
    run.set_reason("no space left on device");
    coordinator.SetRun(run);
    coordinator.RememberSubmission();
  }
  if (const auto yaml = Env::Real()->ReadFile(JoinPath(data_dir, "earlier")); yaml.ok()) {
    v1::Run run = DemoRun();
    run.set_run_id("r-0");
    run.set_run_dir("/runs/r-0");
    run.set_spec_yaml(*yaml);
    coordinator.SetEarlierRun(run);
  }
  if (!WriteFileAtomically(
           Env::Real(), ready_file,
           absl::StrCat("{\"address\": \"", coordinator.address(), "\", \"pid\": ", getpid(), "}"))
           .ok())
    return 1;
  while (!WaitForShutdown(absl::Milliseconds(20))) {
    v1::Run run = coordinator.run();
    if (run.state() != v1::RUN_STATE_RUNNING || !Env::Real()->Exists(JoinPath(data_dir, "finish")))
      continue;
    run.set_state(v1::RUN_STATE_COMPLETED);
    run.set_step(100);
    coordinator.SetRun(run);
  }
  return 0;
}
