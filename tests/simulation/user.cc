#include "tests/simulation/user.h"

#include "absl/strings/str_cat.h"

namespace tritter::simulation {

void User::Submit(const RunWish& wish) {
  ++unanswered_;
  world_->Note("the user submits ", wish.name, ", ", wish.steps, " steps, ", wish.min_workers,
               " to ", wish.max_workers, " workers");
  invariants_->Expect(wish);
  auto request = std::make_shared<v1::SubmitRunRequest>();
  request->set_yaml(wish.Yaml());
  request->set_base_dir("/");
  request->set_idempotency_key(absl::StrCat("key of ", wish.name));
  Send(request);
}

void User::Send(std::shared_ptr<const v1::SubmitRunRequest> request) {
  const auto self = shared_from_this();
  const auto again = [self, request] {
    self->Later(absl::Seconds(1), [self, request] { self->Send(request); });
  };
  network_->Call(
      self,
      [self, request, again](Coordinator* c) -> Network::Reply {
        const absl::StatusOr<v1::SubmitRunResponse> response = c->Submit(*request);
        if (response.ok()) {
          self->invariants_->OnSubmitted(request->idempotency_key(), response->run().run_id());
        }
        return [self, response, again] {
          if (response.ok()) {
            --self->unanswered_;
            return;
          }
          const bool transient = absl::IsUnavailable(response.status()) ||
                                 absl::IsResourceExhausted(response.status());
          if (transient) return again();
          self->world_->Break(
              absl::StrCat("a good run is taken, but: ", response.status().ToString()));
        };
      },
      [again](const absl::Status&) { again(); });
}

void User::Ask(const std::string& run, Wish wish) {
  Ask(run, wish, insists_ ? absl::StrCat("wish ", ++asked_) : "");
}

void User::Ask(const std::string& run, Wish wish, const std::string& id) {
  static constexpr const char* kWords[] = {"pause", "resume", "cancel", "cancel at once"};
  const char* word = kWords[static_cast<int>(wish)];
  const auto self = shared_from_this();
  network_->Call(
      self,
      [self, run, wish, word, id](Coordinator* c) -> Network::Reply {
        const auto record = [&] { return self->invariants_->runs().at(run).record; };
        const RunRecord before = record();
        const absl::StatusOr<v1::Run> answer = wish == Wish::kPause ? c->Pause(run, id)
                                               : wish == Wish::kResume
                                                   ? c->Resume(run, id)
                                                   : c->Cancel(run, wish == Wish::kCancelNow, id);
        self->world_->Note("the user asks to ", word, " ", run, id.empty() ? "" : ", ", id, ": ",
                           answer.ok() ? answer->reason() : answer.status().ToString());
        const RunRecord after = record();
        if (self->done_.contains(id) &&
            (after.state != before.state || after.intent != before.intent))
          self->world_->Break(absl::StrCat("a wish is fulfilled once, but ", id, ", to ", word, " ",
                                           run, ", was there again and changed it"));
        if (answer.ok() && !id.empty()) self->done_.insert(id);
        return [] {};
      },
      [self, run, wish, id](const absl::Status&) {
        if (id.empty()) return;
        self->Later(absl::Seconds(1), [self, run, wish, id] { self->Ask(run, wish, id); });
      });
}

}  // namespace tritter::simulation
