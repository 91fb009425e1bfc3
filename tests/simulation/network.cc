#include "tests/simulation/network.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tritter::simulation {

// The messages of each direction arrive in their order, or not at all.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  std::shared_ptr<Process> process;
  Network::StreamEvents events;
  uint64_t life = 0;     // of the coordinator it was opened to
  uint64_t session = 0;  // at the coordinator, once open
  bool worker_open = true, server_open = true, begun = false;
  std::deque<std::function<void()>> up, down;
  bool up_pumps = false, down_pumps = false;
};

namespace {

class Sink : public CommandSink {
 public:
  Sink(std::function<void(const v1::Command&)> push, std::function<void(const absl::Status&)> close)
      : push_(std::move(push)), close_(std::move(close)) {}
  void Push(const v1::Command& command) override {
    if (!closed_) push_(command);
  }
  void Close(const absl::Status& status) override {
    if (std::exchange(closed_, true)) return;
    close_(status);
  }

 private:
  const std::function<void(const v1::Command&)> push_;
  const std::function<void(const absl::Status&)> close_;
  bool closed_ = false;
};

}  // namespace

struct Network::Pending {
  std::shared_ptr<Process> from;
  std::function<Reply(Coordinator*)> execute;
  std::function<void(const absl::Status&)> lost;
  uint64_t life = 0;  // of the coordinator that was called
  bool over = false;
};

Network::Network(World* world, CoordinatorHost* coordinator, NetworkFaults faults, int hosts)
    : world_(world),
      coordinator_(coordinator),
      faults_(faults),
      hosts_(hosts),
      cut_(static_cast<size_t>(2 * hosts)),
      peers_cut_(static_cast<size_t>(hosts * hosts)) {}

Network::~Network() {
  for (const std::weak_ptr<Stream>& weak : streams_) {
    const std::shared_ptr<Stream> stream = weak.lock();
    if (stream == nullptr) continue;
    stream->up.clear();
    stream->down.clear();
  }
}

void Network::Cut(int host, Way way, absl::Duration until) {
  world_->Note("cable of host ", host, way == Way::kUp ? " to" : " from", " the coordinator is cut",
               " until ", absl::FormatDuration(until));
  cut_[Index(host, way)] = std::max(cut_[Index(host, way)], until);
}

void Network::CutPeers(int a, int b, absl::Duration until) {
  world_->Note("cable between hosts ", a, " and ", b, " is cut until ",
               absl::FormatDuration(until));
  peers_cut_[static_cast<size_t>(std::min(a, b) * hosts_ + std::max(a, b))] = until;
}

absl::Duration Network::PeersCutUntil(int a, int b) const {
  return peers_cut_[static_cast<size_t>(std::min(a, b) * hosts_ + std::max(a, b))];
}

void Network::HealAll() {
  for (absl::Duration& until : cut_) until = std::min(until, world_->now());
  for (absl::Duration& until : peers_cut_) until = std::min(until, world_->now());
}

void Network::Lose(const std::shared_ptr<Pending>& call, absl::Duration after, const char* why) {
  call->from->Later(after, [call, why] {
    if (std::exchange(call->over, true)) return;
    call->lost(absl::UnavailableError(why));
  });
}

void Network::Call(std::shared_ptr<Process> from, std::function<Reply(Coordinator*)> execute,
                   std::function<void(const absl::Status&)> lost) {
  auto call = std::make_shared<Pending>();
  call->from = std::move(from);
  call->execute = std::move(execute);
  call->lost = std::move(lost);
  call->life = coordinator_->life();
  const double fate = world_->Between(0.0, 1.0);
  double share = faults_.request_lost;
  if (fate < share) {
    const bool at_once = world_->Chance(0.5);
    return Lose(call, at_once ? Delay() : faults_.call_deadline, "simulated: the request was lost");
  }
  const auto deliver_after = [this, call](absl::Duration delay, bool answer) {
    world_->After(delay, [this, call, answer] { Deliver(call, answer); });
  };
  if (fate < (share += faults_.answer_lost)) {
    Lose(call, faults_.call_deadline * world_->Between(0.1, 1.0), "simulated: no answer came");
    return deliver_after(Delay(), false);
  }
  if (fate < (share += faults_.late)) {
    Lose(call, faults_.call_deadline, "simulated: the deadline is over");
    const absl::Duration late = faults_.longest_late * world_->Between(0.0, 1.0);
    return deliver_after(faults_.call_deadline + late, false);
  }
  if (fate < (share += faults_.duplicated)) {
    const bool soon = world_->Chance(0.5);
    deliver_after(soon ? Delay() * 2 : faults_.longest_late * world_->Between(0.0, 1.0), false);
  }
  deliver_after(Delay(), true);
}

void Network::Deliver(const std::shared_ptr<Pending>& call, bool answer) {
  const absl::Duration now = world_->now();
  const absl::Duration waits =
      std::max(CutUntil(call->from->host(), Way::kUp), coordinator_->frozen_until());
  if (!coordinator_->up() || call->life != coordinator_->life()) {
    if (answer) Lose(call, Delay(), "simulated: connection refused");
    return;
  }
  if (waits > now) {  // the caller may give up; the request arrives in the end
    Lose(call, faults_.call_deadline, "simulated: the deadline is over");
    return world_->At(waits + Delay(), [this, call, answer] { Deliver(call, answer); });
  }
  Reply reply;
  if (!coordinator_->Do([&](Coordinator* c) { reply = call->execute(c); })) {
    if (answer) Lose(call, Delay(), "simulated: the connection was closed");
    return;
  }
  if (answer) Answer(call, std::move(reply));
}

void Network::Answer(const std::shared_ptr<Pending>& call, Reply reply) {
  const absl::Duration cut = CutUntil(call->from->host(), Way::kDown);
  if (cut > world_->now()) Lose(call, faults_.call_deadline, "simulated: the deadline is over");
  const absl::Duration there = std::max(cut, world_->now()) + Delay();
  world_->At(there, [call, reply = std::move(reply)] {
    call->from->Later(absl::ZeroDuration(), [call, reply] {
      if (!std::exchange(call->over, true)) reply();
    });
  });
}

std::shared_ptr<Stream> Network::Open(std::shared_ptr<Process> from, const v1::Heartbeat& first,
                                      StreamEvents events) {
  auto stream = std::make_shared<Stream>();
  stream->process = std::move(from);
  stream->events = std::move(events);
  stream->life = coordinator_->life();
  std::erase_if(streams_, [](const std::weak_ptr<Stream>& s) { return s.expired(); });
  streams_.push_back(stream);
  Send(stream, first);
  return stream;
}

void Network::Send(const std::shared_ptr<Stream>& stream, const v1::Heartbeat& heartbeat) {
  if (!stream->worker_open) return;
  stream->up.push_back([this, stream, heartbeat] {
    if (!stream->begun) {
      stream->begun = true;
      const auto sink = std::make_shared<Sink>(
          [this, stream](const v1::Command& command) {
            stream->down.push_back([stream, command] { stream->events.on_command(command); });
            PumpDown(stream);
          },
          [this, stream](const absl::Status& status) { ServerCloses(stream, status); });
      absl::StatusOr<uint64_t> session = absl::UnavailableError("not asked");
      if (!coordinator_->Do([&](Coordinator* c) { session = c->OpenSession(heartbeat, sink); }))
        return;
      if (session.ok()) {
        stream->session = *session;
      } else {
        ServerCloses(stream, session.status());
      }
      return;
    }
    absl::Status status;
    const uint64_t session = stream->session;
    if (!coordinator_->Do([&](Coordinator* c) { status = c->Beat(session, heartbeat); })) return;
    if (!status.ok()) ServerCloses(stream, status);
  });
  PumpUp(stream);
}

void Network::PumpUp(const std::shared_ptr<Stream>& stream) {
  if (stream->up_pumps || stream->up.empty()) return;
  stream->up_pumps = true;
  const absl::Duration cut = CutUntil(stream->process->host(), Way::kUp);
  world_->At(std::max({cut, world_->now(), coordinator_->frozen_until()}) + Delay(),
             [this, stream] {
               stream->up_pumps = false;
               const bool waits = std::max(CutUntil(stream->process->host(), Way::kUp),
                                           coordinator_->frozen_until()) > world_->now();
               if (!waits && stream->life == coordinator_->life() && coordinator_->up() &&
                   stream->server_open && !stream->up.empty()) {
                 const std::function<void()> message = std::move(stream->up.front());
                 stream->up.pop_front();
                 message();
               } else if (!waits) {
                 stream->up.clear();
                 const bool gone = stream->life != coordinator_->life() || !coordinator_->up();
                 if (gone) BreakForWorker(stream, "simulated: connection refused");
               }
               PumpUp(stream);
             });
}

void Network::PumpDown(const std::shared_ptr<Stream>& stream) {
  if (stream->down_pumps || stream->down.empty()) return;
  stream->down_pumps = true;
  const absl::Duration cut = CutUntil(stream->process->host(), Way::kDown);
  world_->At(std::max(cut, world_->now()) + Delay(), [this, stream] {
    if (CutUntil(stream->process->host(), Way::kDown) > world_->now()) {
      stream->down_pumps = false;
      return PumpDown(stream);
    }
    stream->process->Later(absl::ZeroDuration(), [this, stream] {
      stream->down_pumps = false;
      if (stream->down.empty()) return;
      const std::function<void()> message = std::move(stream->down.front());
      stream->down.pop_front();
      if (stream->worker_open) message();
      PumpDown(stream);
    });
  });
}

void Network::ServerCloses(const std::shared_ptr<Stream>& stream, const absl::Status& status) {
  if (!std::exchange(stream->server_open, false)) return;
  stream->down.push_back([stream, status] {
    if (std::exchange(stream->worker_open, false)) stream->events.on_end(status);
  });
  PumpDown(stream);
  // The handler of the stream ends a moment later.
  world_->After(Delay(), [this, stream] {
    if (stream->life != coordinator_->life() || !coordinator_->up() || stream->session == 0) return;
    coordinator_->Do([&](Coordinator* c) { c->CloseSession(stream->session); });
  });
}

void Network::CloseByWorker(const std::shared_ptr<Stream>& stream) {
  if (!std::exchange(stream->worker_open, false)) return;
  const absl::Duration cut = CutUntil(stream->process->host(), Way::kUp);
  world_->At(std::max(cut, world_->now()) + Delay(), [this, stream] {
    if (!std::exchange(stream->server_open, false)) return;
    if (stream->life != coordinator_->life() || !coordinator_->up() || stream->session == 0) return;
    coordinator_->Do([&](Coordinator* c) { c->CloseSession(stream->session); });
  });
}

void Network::Reset(const std::shared_ptr<Stream>& stream) {
  stream->process->Later(Delay(), [stream] {
    if (std::exchange(stream->worker_open, false))
      stream->events.on_end(absl::UnavailableError("simulated: connection reset"));
  });
  world_->After(Delay(), [this, stream] {
    if (!std::exchange(stream->server_open, false)) return;
    if (stream->life != coordinator_->life() || !coordinator_->up() || stream->session == 0) return;
    coordinator_->Do([&](Coordinator* c) { c->CloseSession(stream->session); });
  });
}

void Network::BreakForWorker(const std::shared_ptr<Stream>& stream, const char* why) {
  stream->server_open = false;
  const absl::Duration cut = CutUntil(stream->process->host(), Way::kDown);
  world_->At(std::max(cut, world_->now()) + Delay(), [stream, why] {
    stream->process->Later(absl::ZeroDuration(), [stream, why] {
      if (std::exchange(stream->worker_open, false))
        stream->events.on_end(absl::UnavailableError(why));
    });
  });
}

void Network::CoordinatorDied() {
  for (const std::weak_ptr<Stream>& weak : streams_) {
    const std::shared_ptr<Stream> stream = weak.lock();
    if (stream == nullptr || !stream->worker_open) continue;
    stream->up.clear();
    BreakForWorker(stream, "simulated: the coordinator is gone");
  }
}

}  // namespace tritter::simulation
