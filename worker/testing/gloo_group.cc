#include "worker/testing/gloo_group.h"

#include <thread>
#include <utility>

#include "common/testing/status_matchers.h"

namespace tritter {

std::vector<std::unique_ptr<Collective>> MakeGlooGroup(int world_size) {
  std::vector<std::unique_ptr<Collective>> group(world_size);
  auto rendezvous = OpenRendezvous("127.0.0.1", world_size);
  EXPECT_OK(rendezvous);
  if (!rendezvous.ok()) return group;
  std::vector<std::thread> threads;
  for (int r = 0; r < world_size; ++r) {
    threads.emplace_back([&, r] {
      auto c = ConnectCollective((*rendezvous)->address(), r == 0 ? rendezvous->get() : nullptr,
                                 "run/7", r, world_size, absl::Seconds(20));
      EXPECT_OK(c);
      if (c.ok()) group[r] = *std::move(c);
    });
  }
  for (auto& t : threads) t.join();
  return group;
}

}  // namespace tritter
