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
  static constexpr const char* kWords[] = {"pause", "resume", "cancel", "cancel at once"};
  const char* word = kWords[static_cast<int>(wish)];
  network_->Call(
      shared_from_this(),
      [this, run, wish, word](Coordinator* c) -> Network::Reply {
        const absl::StatusOr<v1::Run> answer = wish == Wish::kPause ? c->Pause(run)
                                               : wish == Wish::kResume
                                                   ? c->Resume(run)
                                                   : c->Cancel(run, wish == Wish::kCancelNow);
        world_->Note("the user asks to ", word, " ", run, ": ",
                     answer.ok() ? answer->reason() : answer.status().ToString());
        return [] {};
      },
      [](const absl::Status&) {});
}

}  // namespace tritter::simulation
