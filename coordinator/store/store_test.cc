// The conformance suite over every form of Store.
#include <memory>
#include <utility>

#include "coordinator/store/fault_store.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/store/store_conformance.h"

namespace tritter {
namespace {

// A wrapper that owns what it wraps.
struct OwningFaultStore : FaultStore {
  explicit OwningFaultStore(std::unique_ptr<Store> base)
      : FaultStore(base.get()), owned(std::move(base)) {}
  std::unique_ptr<Store> owned;
};

INSTANTIATE_TEST_SUITE_P(
    Forms, StoreConformance,
    testing::Values(StoreForm{"Memory",
                              [](const std::string&) { return std::make_shared<MemoryStore>(); }},
                    StoreForm{"Sqlite",
                              [](const std::string& folder) -> std::shared_ptr<Store> {
                                return *SqliteStore::Open(Env::Real(), folder);
                              }},
                    StoreForm{"Fault",
                              [](const std::string&) -> std::shared_ptr<Store> {
                                return std::make_shared<OwningFaultStore>(
                                    std::make_unique<MemoryStore>());
                              }}),
    [](const testing::TestParamInfo<StoreForm>& info) { return info.param.name; });

}  // namespace
}  // namespace tritter
