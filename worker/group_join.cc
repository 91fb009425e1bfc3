#include "worker/group_join.h"

#include <optional>
#include <thread>
#include <utility>

#include "common/mutex.h"

namespace tritter {
namespace {

struct Attempt {
  std::unique_ptr<Rendezvous> rendezvous;  // constant while the attempt runs
  Mutex mu;
  CondVar done;
  std::optional<absl::StatusOr<std::unique_ptr<Collective>>> result GUARDED_BY(mu);

  ~Attempt() {
    MutexLock lock(&mu);
    result.reset();  // before the rendezvous
  }
};

}  // namespace

absl::StatusOr<Group> JoinGroup(
    EpochParts* parts, const GroupPlace& place, const Cancellation& cancellation,
    const std::function<absl::Status(const std::string& address)>& publish,
    const std::function<absl::StatusOr<std::string>()>& await_address) {
  if (place.world_size == 1) return Group{nullptr, SingleProcessCollective()};

  auto attempt = std::make_shared<Attempt>();
  std::string address;
  if (place.rank == 0) {
    ASSIGN_OR_RETURN(attempt->rendezvous, parts->OpenRendezvous(place.world_size));
    address = attempt->rendezvous->address();
    RETURN_IF_ERROR(publish(address));
  } else {
    ASSIGN_OR_RETURN(address, await_address());
  }
  std::thread([attempt, parts, address, place] {
    auto collective = parts->Connect(address, attempt->rendezvous.get(), place);
    MutexLock lock(&attempt->mu);
    attempt->result = std::move(collective);
    attempt->done.NotifyAll();
  }).detach();

  MutexLock lock(&attempt->mu);
  while (!attempt->result.has_value()) {
    if (cancellation.cancelled()) return absl::AbortedError(cancellation.cause().message());
    attempt->done.WaitFor(&attempt->mu, absl::Milliseconds(50));  // cancellation does not wake us
  }
  absl::StatusOr<std::unique_ptr<Collective>> collective = *std::move(attempt->result);
  attempt->result.reset();
  if (!collective.ok()) return collective.status();
  return Group{std::move(attempt->rendezvous), *std::move(collective)};
}

}  // namespace tritter
