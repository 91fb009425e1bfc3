// DataCatalog over folders that curation wrote.
#pragma once

#include <vector>

#include "common/env.h"
#include "coordinator/data_catalog.h"

namespace tritter {

// Thread-safe; `env` outlives it.
class ShardCatalog : public DataCatalog {
 public:
  explicit ShardCatalog(Env* env) : env_(env) {}
  std::vector<SourceFacts> Inspect(const RunSpec& spec) override;

 private:
  Env* const env_;
};

}  // namespace tritter
