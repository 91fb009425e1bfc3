#include "tests/testing/random_model.h"

#include <memory>

#include "common/status_macros.h"
#include "model/tokenizer.h"
#include "model/tpack.h"
#include "tests/testing/random_tensor.h"

namespace tritter {

absl::Status WriteRandomModel(Env* env, const std::string& path, const ModelConfig& config,
                              uint64_t seed) {
  RETURN_IF_ERROR(ValidateConfig(config));
  TpackProvenance provenance;
  provenance.run_id = "random";
  provenance.weights = "raw";
  ASSIGN_OR_RETURN(std::unique_ptr<TpackWriter> writer,
                   TpackWriter::Create(env, path, config, ByteTokenizer().hash(), provenance));
  for (const ParameterSpec& spec : ParameterTable(config))
    RETURN_IF_ERROR(writer->Add(RandomTensor(config, spec, seed)));
  return writer->Finish();
}

}  // namespace tritter
