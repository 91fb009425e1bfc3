#include "inference/predict_v2.h"

#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

using inference::InferParameter;

constexpr char kTextInput[] = "text_input";
constexpr char kText[] = "text_output", kReason[] = "finish_reason";
constexpr char kPromptTokens[] = "prompt_tokens", kGeneratedTokens[] = "generated_tokens";

absl::Status BadParameter(const std::string& name, absl::string_view needed) {
  return absl::InvalidArgumentError(absl::StrCat("parameter ", name, " is not ", needed));
}

// NaN: not a number.
double NumberOf(const InferParameter& p) {
  switch (p.parameter_choice_case()) {
    case InferParameter::kDoubleParam:
      return p.double_param();
    case InferParameter::kInt64Param:
      return static_cast<double>(p.int64_param());
    case InferParameter::kUint64Param:
      return static_cast<double>(p.uint64_param());
    default:
      return std::nan("");
  }
}

absl::Status Read(const std::string& name, const InferParameter& p, double* to) {
  *to = NumberOf(p);
  return std::isnan(*to) ? BadParameter(name, "a number") : absl::OkStatus();
}

absl::Status Read(const std::string& name, const InferParameter& p, int64_t* to) {
  if (p.parameter_choice_case() == InferParameter::kInt64Param) {
    *to = p.int64_param();
  } else if (p.parameter_choice_case() == InferParameter::kUint64Param &&
             p.uint64_param() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    *to = static_cast<int64_t>(p.uint64_param());
  } else {
    return BadParameter(name, "a whole number");
  }
  return absl::OkStatus();
}

absl::Status Read(const std::string& name, const InferParameter& p, bool* to) {
  if (p.parameter_choice_case() != InferParameter::kBoolParam)
    return BadParameter(name, "true or false");
  *to = p.bool_param();
  return absl::OkStatus();
}

absl::Status ReadParameter(const std::string& name, const InferParameter& p, PredictRequest* to) {
  SamplingParams& sampling = to->params.sampling;
  const std::map<std::string, double*> numbers = {
      {"temperature", &sampling.temperature},
      {"top_p", &sampling.top_p},
      {"min_p", &sampling.min_p},
      {"repetition_penalty", &sampling.repetition_penalty},
      {"presence_penalty", &sampling.presence_penalty},
      {"frequency_penalty", &sampling.frequency_penalty}};
  if (const auto number = numbers.find(name); number != numbers.end())
    return Read(name, p, number->second);
  if (name == "top_k") return Read(name, p, &sampling.top_k);
  if (name == "ignore_eos") return Read(name, p, &to->params.ignore_eos);
  int64_t whole = 0;
  if (name == "seed") {
    if (p.parameter_choice_case() == InferParameter::kUint64Param) {
      sampling.seed = p.uint64_param();
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Read(name, p, &whole));
    sampling.seed = static_cast<uint64_t>(whole);
    return absl::OkStatus();
  }
  if (name == "max_tokens") {
    RETURN_IF_ERROR(Read(name, p, &whole));
    to->max_tokens = whole;
    return absl::OkStatus();
  }
  if (name == "timeout") {  // the protocol's, in microseconds
    RETURN_IF_ERROR(Read(name, p, &whole));
    if (whole <= 0) return BadParameter(name, "a number of microseconds above 0");
    to->params.timeout = absl::Microseconds(whole);
    return absl::OkStatus();
  }
  if (name == "stop") {
    if (p.parameter_choice_case() != InferParameter::kStringParam)
      return BadParameter(name, "a string");
    to->params.stop.push_back(p.string_param());
    return absl::OkStatus();
  }
  // What the protocol's clients send along and what makes no difference here.
  for (const char* known : {"priority", "sequence_id", "sequence_start", "sequence_end",
                            "binary_data_output", "triton_enable_empty_final_response"})
    if (name == known) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "parameter ", name,
      " is not known; known are max_tokens, temperature, top_p, top_k, min_p, seed, stop, "
      "ignore_eos, repetition_penalty, presence_penalty, frequency_penalty and timeout"));
}

// Elements of a raw BYTES tensor: 4 bytes of length (little-endian), then the bytes, again and
// again.
absl::Status ReadRawTexts(absl::string_view raw, int64_t count, std::vector<std::string>* texts) {
  const size_t whole = raw.size();
  for (int64_t i = 0; i < count; ++i) {
    uint32_t length = 0;
    for (size_t b = 0; b < 4 && b < raw.size(); ++b)
      length |= static_cast<uint32_t>(static_cast<uint8_t>(raw[b])) << (8 * b);
    if (raw.size() < 4 || raw.size() - 4 < length) {
      return absl::InvalidArgumentError(
          absl::StrCat("raw contents of ", kTextInput, " end at byte ", whole, " within element ",
                       i, " of ", count, "; each is 4 bytes of length and the text"));
    }
    texts->emplace_back(raw.substr(4, length));
    raw.remove_prefix(4 + size_t{length});
  }
  if (raw.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("raw contents of ", kTextInput, " have ",
                                                 raw.size(), " bytes behind the ", count,
                                                 " elements of its shape"));
}

absl::Status ReadTexts(const inference::ModelInferRequest& request, PredictRequest* to) {
  if (request.inputs_size() != 1 || request.inputs(0).name() != kTextInput) {
    return absl::InvalidArgumentError(
        absl::StrCat("inputs are ", request.inputs_size(), " tensors",
                     request.inputs_size() > 0
                         ? absl::StrCat(", the first is \"", request.inputs(0).name(), "\"")
                         : "",
                     "; one is needed, ", kTextInput, " of type BYTES"));
  }
  const auto& input = request.inputs(0);
  if (input.datatype() != "BYTES") {
    return absl::InvalidArgumentError(
        absl::StrCat(kTextInput, " is of type \"", input.datatype(), "\", BYTES is needed"));
  }
  int64_t count = 1;
  for (const int64_t size : input.shape()) {
    if (size < 1 || size > kMaxPredictTexts || (count *= size) > kMaxPredictTexts) {
      return absl::InvalidArgumentError(absl::StrCat(kTextInput, " has a dimension of ", size,
                                                     "; 1 to ", kMaxPredictTexts,
                                                     " texts are allowed in a request"));
    }
  }
  to->raw = request.raw_input_contents_size() > 0;
  if (to->raw && (request.raw_input_contents_size() != 1 || input.has_contents())) {
    return absl::InvalidArgumentError(
        absl::StrCat("raw_input_contents has ", request.raw_input_contents_size(),
                     " parts for 1 input, whose own contents must then be empty"));
  }
  if (to->raw) return ReadRawTexts(request.raw_input_contents(0), count, &to->texts);
  if (input.contents().bytes_contents_size() != count) {
    return absl::InvalidArgumentError(absl::StrCat(kTextInput, " has ",
                                                   input.contents().bytes_contents_size(),
                                                   " bytes_contents, its shape says ", count));
  }
  to->texts.assign(input.contents().bytes_contents().begin(),
                   input.contents().bytes_contents().end());
  return absl::OkStatus();
}

const char* ReasonText(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    default:
      return "";
  }
}

void AppendLittleEndian(uint64_t value, int bytes, std::string* to) {
  for (int i = 0; i < bytes; ++i) to->push_back(static_cast<char>(value >> (8 * i)));
}

// One output, its values asked of `bytes` or `number` by index.
template <typename BytesFn, typename NumberFn>
void AddOutput(const PredictRequest& request, const char* name, bool is_bytes, size_t count,
               BytesFn bytes, NumberFn number, inference::ModelInferResponse* response) {
  if (request.outputs.count(name) == 0) return;
  auto* output = response->add_outputs();
  output->set_name(name);
  output->set_datatype(is_bytes ? "BYTES" : "INT64");
  output->add_shape(static_cast<int64_t>(count));
  std::string* raw = request.raw ? response->add_raw_output_contents() : nullptr;
  for (size_t i = 0; i < count; ++i) {
    if (is_bytes) {
      const std::string value = bytes(i);
      if (raw == nullptr) {
        output->mutable_contents()->add_bytes_contents(value);
        continue;
      }
      AppendLittleEndian(value.size(), 4, raw);
      raw->append(value);
    } else if (raw == nullptr) {
      output->mutable_contents()->add_int64_contents(number(i));
    } else {
      AppendLittleEndian(static_cast<uint64_t>(number(i)), 8, raw);
    }
  }
}

}  // namespace

absl::StatusOr<PredictRequest> ReadInferRequest(const inference::ModelInferRequest& request) {
  PredictRequest read;
  RETURN_IF_ERROR(ReadTexts(request, &read));
  for (const auto& [name, parameter] : request.parameters())
    RETURN_IF_ERROR(ReadParameter(name, parameter, &read));
  const std::set<std::string> all = {kText, kReason, kPromptTokens, kGeneratedTokens};
  for (const auto& output : request.outputs()) {
    if (all.count(output.name()) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("output \"", output.name(), "\" is not made here; ", kText, ", ", kReason,
                       ", ", kPromptTokens, " and ", kGeneratedTokens, " are"));
    }
    read.outputs.insert(output.name());
  }
  if (read.outputs.empty()) read.outputs = all;
  return read;
}

inference::ModelInferResponse MakeInferResponse(const inference::ModelInferRequest& request,
                                                const ServedModel& model) {
  inference::ModelInferResponse response;
  response.set_model_name(model.name);
  response.set_model_version(absl::StrCat(model.version));
  response.set_id(request.id());
  return response;
}

void AddOutputs(const PredictRequest& request, const std::vector<PredictedText>& texts,
                inference::ModelInferResponse* response) {
  const auto no_bytes = [](size_t) { return std::string(); };
  const auto no_number = [](size_t) { return int64_t{0}; };
  AddOutput(
      request, kText, true, texts.size(), [&](size_t i) { return texts[i].text; }, no_number,
      response);
  AddOutput(
      request, kReason, true, texts.size(),
      [&](size_t i) { return std::string(ReasonText(texts[i].finish)); }, no_number, response);
  AddOutput(
      request, kPromptTokens, false, texts.size(), no_bytes,
      [&](size_t i) { return texts[i].usage.prompt_tokens; }, response);
  AddOutput(
      request, kGeneratedTokens, false, texts.size(), no_bytes,
      [&](size_t i) { return texts[i].usage.generated_tokens; }, response);
}

inference::ModelMetadataResponse DescribeTensors(const ServedModel& model) {
  inference::ModelMetadataResponse response;
  response.set_name(model.name);
  response.add_versions(absl::StrCat(model.version));
  response.set_platform("tritter");
  const auto describe = [](const char* name, const char* type, auto* tensor) {
    tensor->set_name(name);
    tensor->set_datatype(type);
    tensor->add_shape(-1);
  };
  describe(kTextInput, "BYTES", response.add_inputs());
  describe(kText, "BYTES", response.add_outputs());
  describe(kReason, "BYTES", response.add_outputs());
  describe(kPromptTokens, "INT64", response.add_outputs());
  describe(kGeneratedTokens, "INT64", response.add_outputs());
  return response;
}

}  // namespace tritter
