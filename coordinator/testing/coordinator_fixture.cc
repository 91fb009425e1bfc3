#include "coordinator/testing/coordinator_fixture.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/testing/status_matchers.h"

namespace tritter {

std::vector<SourceFacts> FakeCatalog::Inspect(const RunSpec& spec) {
  std::vector<SourceFacts> out;
  for (const SourceSpec& s : spec.sources)
    out.push_back({s.name, status, samples, samples, tokenizer ? tokenizer(s) : "hash", 264});
  return out;
}

absl::Status DirectApi::OpenSession(const v1::Heartbeat& first) {
  sink_ = std::make_shared<RecordingSink>();
  absl::StatusOr<uint64_t> session = (*c_)->OpenSession(first, sink_);
  if (session.ok()) session_ = *session;
  return session.status();
}

std::vector<v1::Command> DirectApi::TakeCommands() {
  return sink_ == nullptr ? std::vector<v1::Command>() : sink_->Take();
}

std::string RunYaml(const std::string& name, int64_t steps, int64_t workers,
                    const std::string& more) {
  return absl::StrCat("name: ", name, R"(
model: {preset: nano, family: tritter, vocab: 264}
data:
  sources:
    - {name: text, shards: /data/text, weight: 1.0, max_epochs: 20}
training:
  steps: )",
                      steps, R"(
  sequence_length: 128
  global_batch: 16
workers: {min: )",
                      workers, ", max: ", workers, "}\n",
                      more.empty() ? "checkpoint: {every: 20, keep: 2}\n" : more);
}

void CoordinatorFixture::Start() {
  coordinator_.reset();
  options_.data_dir = "/data-dir";
  CoordinatorDependencies d;
  d.store = &store_;
  d.env = files_;
  d.clock = &clock_;
  d.catalog = &catalog_;
  d.exporter = [this](const CheckpointReader& checkpoint, const std::string& path,
                      const ExportOptions& options) -> absl::StatusOr<v1::Artifact> {
    ++exports_;
    if (on_export_) on_export_();
    if (!export_status_.ok()) return export_status_;
    RETURN_IF_ERROR(WriteFileAtomically(&env_, path, checkpoint.location()));
    v1::Artifact a;
    export_options_ = options;
    a.set_kind(options.format);
    a.set_path(path);
    a.set_sha256(Sha256Hex(checkpoint.location()));
    a.set_step(checkpoint.manifest().step);
    return a;
  };
  d.run_id = run_id_;
  d.pulse = pulse_;
  d.load_model = [this](const std::string& server, const std::string& model) {
    return load_model_(server, model);
  };
  ASSERT_OK_AND_ASSIGN(coordinator_, Coordinator::Start(d, options_));
}

FakeAgent* CoordinatorFixture::AddWorker(const std::string& name, uint64_t incarnation,
                                         const std::function<void(FakeAgent*)>& prepare) {
  apis_.push_back(std::make_unique<DirectApi>(&coordinator_));
  agents_.push_back(std::make_unique<FakeAgent>(apis_.back().get(), &env_, name, incarnation));
  if (agents_yield_) {
    agents_.back()->exchange = &exchange_;
    agents_.back()->holds = true;
  }
  if (prepare) prepare(agents_.back().get());
  EXPECT_OK(agents_.back()->Connect());
  live_.push_back(agents_.back().get());
  return agents_.back().get();
}

std::string CoordinatorFixture::Submit(const std::string& yaml, const std::string& key) {
  v1::SubmitRunRequest request;
  request.set_yaml(yaml);
  request.set_idempotency_key(key);
  request.set_base_dir("/");
  absl::StatusOr<v1::SubmitRunResponse> response = coordinator_->Submit(request);
  EXPECT_OK(response);
  return response.ok() ? response->run().run_id() : "";
}

v1::Run CoordinatorFixture::Get(const std::string& id) {
  absl::StatusOr<v1::Run> run = coordinator_->Get(id);
  EXPECT_OK(run);
  return run.ok() ? *run : v1::Run();
}

void CoordinatorFixture::Rounds(int n, absl::Duration each) {
  for (int i = 0; i < n; ++i) {
    clock_.Advance(each);
    for (FakeAgent* agent : live_) agent->Act();
    coordinator_->Tick();
  }
}

void CoordinatorFixture::Kill(FakeAgent* agent) {
  std::erase(live_, agent);
  agent->Kill();
}

void CoordinatorFixture::Silence(FakeAgent* agent) { std::erase(live_, agent); }

std::vector<std::string> CoordinatorFixture::EventKinds(const std::string& run_id) {
  v1::ListEventsRequest request;
  request.set_run(run_id);
  std::vector<std::string> out;
  absl::StatusOr<v1::ListEventsResponse> events = coordinator_->ListEvents(request);
  EXPECT_OK(events);
  if (events.ok()) {
    for (const v1::Event& e : events->events()) out.push_back(e.kind());
  }
  return out;
}

}  // namespace tritter
