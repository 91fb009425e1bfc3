#include "worker/worker_options.h"

#include <functional>

#include "absl/strings/str_cat.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "nlohmann/json.hpp"

namespace tritter {
namespace {

using testing::HasSubstr;

const std::function<CudaSummary()> NoCuda = [] { return CudaSummary{0, "", "no driver"}; };

TEST(WorkerOptions, TakesNameAndThreadsFromTheMachine) {
  ASSERT_OK_AND_ASSIGN(const WorkerOptions o,
                       ResolveWorkerOptions({}, "host-7", 6, nullptr, NoCuda));
  EXPECT_EQ(o.name, "host-7");
  EXPECT_EQ(o.threads, 6);
  WorkerOptions given;
  given.name = "worker-a";
  given.threads = 1;
  ASSERT_OK_AND_ASSIGN(const WorkerOptions kept,
                       ResolveWorkerOptions(given, "host-7", 6, "scalar", NoCuda));
  EXPECT_EQ(kept.name, "worker-a");
  EXPECT_EQ(kept.threads, 1);
}

TEST(WorkerOptions, RefusesWhatCannotBeRightAndNamesTheFlag) {
  struct Case {
    std::function<void(WorkerOptions*)> spoil;
    const char* message;
  };
  for (const Case& c : std::vector<Case>{
           {[](WorkerOptions* o) { o->coordinator = "10.0.0.1:7070"; },
            "--coordinator 10.0.0.1:7070"},
           {[](WorkerOptions* o) { o->coordinator = "nonsense"; }, "--coordinator"},
           {[](WorkerOptions* o) { o->coordinator = "127.0.0.1:7070,10.0.0.1:7070"; },
            "--coordinator 10.0.0.1:7070 is beyond this machine"},
           {[](WorkerOptions* o) { o->coordinator = "127.0.0.1:7070,127.0.0.1:7070"; },
            "--coordinator: 127.0.0.1:7070 is there twice"},
           {[](WorkerOptions* o) { o->listen = "0.0.0.0:80"; }, "--listen: 0.0.0.0:80"},
           {[](WorkerOptions* o) { o->metrics_listen = "0.0.0.0:80"; }, "--metrics-listen"},
           {[](WorkerOptions* o) { o->advertise_host = "10.0.0.2"; }, "--advertise-host 10.0.0.2"},
           {[](WorkerOptions* o) {
              o->advertise_host = "10.0.0.2";
              o->security.insecure = true;  // is about the coordinator
            },
            "--collective-network trusted"},
           {[](WorkerOptions* o) { o->collective_network = "open"; }, "expected trusted"},
           {[](WorkerOptions* o) { o->roots = {"data"}; }, "--root is \"data\""},
           {[](WorkerOptions* o) { o->name = "a b"; }, "--name is 'a b'"},
           {[](WorkerOptions* o) { o->name = std::string(129, 'x'); }, "--name"},
           {[](WorkerOptions* o) { o->threads = -1; }, "--threads is -1"},
           {[](WorkerOptions* o) { o->leave_seconds = -1; }, "--leave-seconds is -1"},
       }) {
    WorkerOptions o;
    c.spoil(&o);
    EXPECT_THAT(ResolveWorkerOptions(o, "host", 2, nullptr, NoCuda).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
  EXPECT_THAT(ResolveWorkerOptions({}, "host", 2, "warp", NoCuda).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("scalar")));
  WorkerOptions trusted;
  trusted.security.insecure = true;
  trusted.collective_network = "trusted";
  trusted.coordinator = "10.0.0.1:7070";
  trusted.advertise_host = "10.0.0.2";
  EXPECT_OK(ResolveWorkerOptions(trusted, "host", 2, nullptr, NoCuda));
  trusted.security.insecure = false;
  EXPECT_THAT(ResolveWorkerOptions(trusted, "host", 2, nullptr, NoCuda).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tls-ca")));
  trusted.security.tls_authority = "ca.pem";
  EXPECT_OK(ResolveWorkerOptions(trusted, "host", 2, nullptr, NoCuda));
}

TEST(WorkerOptions, DeviceIsChosenForAReason) {
  const auto two = [] { return CudaSummary{2, "NVIDIA Fake", ""}; };
  struct Case {
    const char* wanted;
    bool cuda;
    const char *device, *reason;
  };
  for (const Case& c : {
           Case{"auto", false, "cpu", "--device is auto, no GPU: no driver"},
           Case{"cpu", false, "cpu", "--device is cpu"},
           Case{"cpu", true, "cpu", "--device is cpu"},
           Case{"auto", true, "cuda:0", "--device is auto, the machine has 2 × NVIDIA Fake"},
           Case{"cuda", true, "cuda:0", "--device is cuda, the machine has 2 × NVIDIA Fake"},
           Case{"cuda:1", true, "cuda:1", "--device is cuda:1"},
       }) {
    WorkerOptions o;
    o.device = c.wanted;
    ASSERT_OK_AND_ASSIGN(const WorkerOptions resolved,
                         ResolveWorkerOptions(o, "host", 2, nullptr,
                                              c.cuda ? std::function<CudaSummary()>(two) : NoCuda));
    EXPECT_EQ(resolved.device, c.device);
    EXPECT_THAT(resolved.device_reason, HasSubstr(c.reason));
    EXPECT_EQ(resolved.cuda_ordinal, resolved.device == "cpu" ? -1 : resolved.device.back() - '0');
  }
}

// Which library is missing, and how to build it, is of use only where there may be a GPU.
TEST(WorkerOptions, WithoutADriverItIsOneShortSentence) {
  const auto bare = [] {
    return CudaSummary{0, "", "there is no x.so in /a or /b (build it)", false};
  };
  ASSERT_OK_AND_ASSIGN(const WorkerOptions resolved,
                       ResolveWorkerOptions({}, "host", 2, nullptr, bare));
  EXPECT_EQ(resolved.device_reason, "--device is auto, no GPU: this machine has no NVIDIA driver");
  WorkerOptions cuda;
  cuda.device = "cuda";
  EXPECT_THAT(ResolveWorkerOptions(cuda, "host", 2, nullptr, bare).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("there is no x.so")));
}

TEST(WorkerOptions, ADeviceThatIsNotThereIsRefusedWithWhatToDo) {
  struct Case {
    const char *wanted, *message;
  };
  for (const Case& c : {
           Case{"cuda", "--device is cuda, but no driver; --device=cpu trains on the CPU"},
           Case{"cuda:0", "--device is cuda:0, but no driver"},
           Case{"cuda:-1", "expected auto, cpu, cuda or cuda:N"},
           Case{"tpu", "--device is tpu, expected auto, cpu, cuda or cuda:N"},
           Case{"", "--device is , expected"},
       }) {
    WorkerOptions o;
    o.device = c.wanted;
    EXPECT_THAT(ResolveWorkerOptions(o, "host", 2, nullptr, NoCuda).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
  WorkerOptions o;
  o.device = "cuda:3";
  EXPECT_THAT(
      ResolveWorkerOptions(o, "host", 2, nullptr, [] { return CudaSummary{2, "NVIDIA Fake", ""}; })
          .status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has 2 CUDA devices")));
}

TEST(UsableMemory, IsFourFifthsOfTheLowerLimit) {
  MemoryEnv env;
  EXPECT_EQ(UsableMemoryBytes(&env), 0);
  ASSERT_OK(env.CreateDirs("/proc"));
  ASSERT_OK(WriteFileAtomically(&env, "/proc/meminfo", "MemTotal:       1000 kB\nMemFree: 5 kB\n"));
  EXPECT_EQ(UsableMemoryBytes(&env), 819200);
  ASSERT_OK(env.CreateDirs("/sys/fs/cgroup"));
  ASSERT_OK(WriteFileAtomically(&env, "/sys/fs/cgroup/memory.max", "max\n"));
  EXPECT_EQ(UsableMemoryBytes(&env), 819200);
  ASSERT_OK(WriteFileAtomically(&env, "/sys/fs/cgroup/memory.max", "500000\n"));
  EXPECT_EQ(UsableMemoryBytes(&env), 400000);
}

TEST(WorkerReady, IsJsonWithTheWholeIncarnation) {
  WorkerReady ready;
  ready.name = "worker-a";
  ready.incarnation = 18446744073709551615u;
  ready.health_address = "127.0.0.1:5";
  const auto json = nlohmann::json::parse(WorkerReadyJson(ready));
  EXPECT_EQ(json["incarnation"], "18446744073709551615");
  EXPECT_EQ(json["address"], "127.0.0.1:5");
  EXPECT_FALSE(json.contains("metrics_address"));
}

}  // namespace
}  // namespace tritter
