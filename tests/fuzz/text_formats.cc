#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "inference/http/json_fields.h"
#include "inference/http/openai_request.h"
#include "inference/json_constraint.h"
#include "inference/json_grammar.h"
#include "model/checkpoint_manifest.h"
#include "model/run_spec.h"
#include "model/text/chat_prompts.h"
#include "model/text/open_tokenizer.h"
#include "model/text/testing/bpe_test_tokenizer.h"
#include "tests/fuzz/formats.h"

namespace tritter {
namespace {

using nlohmann::ordered_json;

constexpr char kCorpus[] = "tests/fuzz/corpus";

// One case for each good file of the corpus, which `make` puts where it belongs.
template <typename Make>
FuzzFormat FromCorpus(const std::string& format, const Make& make) {
  FuzzFormat out{format, {}};
  for (const auto& [name, bytes] : FuzzCorpus(format)) {
    if (absl::StartsWith(name, "ok_")) out.cases.push_back(make(name, bytes));
  }
  return out;
}

FuzzCase OneFile(const std::string& path, const std::string& bytes, const std::string& named,
                 absl::Status (*read)(const std::string& text, const std::string& path)) {
  const auto read_file = [read](Env* env, const std::string& opened) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, env->ReadFile(opened));
    return read(text, opened);
  };
  return {{{path, bytes}}, path, path, read_file, named};
}

// --- beside a tokenizer ------------------------------------------------------------------------

constexpr char kFolder[] = "/folder";

absl::Status Converse(Env* env, const std::string& folder) {
  const std::string hash = HashOfTokenizerJson(BpeTestTokenizer().dump());
  ASSIGN_OR_RETURN(const OpenedTokenizer opened, OpenTokenizer(env, folder, hash));
  const ChatPrompts chat(opened.chat_template, opened.bos_token, opened.eos_token);
  if (!chat.status().ok()) return absl::OkStatus();  // a model that takes no conversations
  const std::vector<ChatMessage> messages = {{"system", "be kind"}, {"user", "hello <|end|>"}};
  chat.Encode(messages, nullptr, absl::UnixEpoch(), *opened.tokenizer).status().IgnoreError();
  return absl::OkStatus();
}

FuzzFormat BesideTokenizer(const std::string& format, const std::string& file) {
  FuzzFormat out = FromCorpus(format, [&](const std::string&, const std::string& bytes) {
    const std::string path = JoinPath(kFolder, file);
    return FuzzCase{{{JoinPath(kFolder, kTokenizerJson), BpeTestTokenizer().dump()}, {path, bytes}},
                    path,
                    kFolder,
                    Converse,
                    kFolder};
  });
  out.beginnings = true;  // an empty one is none
  return out;
}

// --- chat templates ----------------------------------------------------------------------------

absl::Status RenderConversations(const std::string& text, const std::string& path) {
  absl::StatusOr<ChatTemplate> parsed = ChatTemplate::Parse(text);
  RETURN_IF_ERROR(Annotate(parsed.status(), path));
  ChatTemplateInput input;
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.messages = {{{"role", "system"}, {"content", "be kind"}},
                    {{"role", "user"}, {"content", " h\xc3\xa9llo \n"}}};
  input.add_generation_prompt = true;
  const absl::Status plain = Annotate(parsed->Render(input).status(), path);
  input.messages.push_back(
      {{"role", "assistant"},
       {"content", nullptr},
       {"tool_calls",
        ordered_json::array({{{"function", {{"name", "add"}, {"arguments", {{"a", 1}}}}}}})}});
  input.messages.push_back({{"role", "tool"}, {"content", "2.5"}});
  input.tools = ordered_json::array({{{"type", "function"}, {"function", {{"name", "add"}}}}});
  input.more = {{"enable_thinking", false}, {"deep", {{"list", {1, -2.5, true, nullptr, "x"}}}}};
  RETURN_IF_ERROR(plain);
  return Annotate(parsed->Render(input).status(), path);
}

FuzzFormat ChatTemplates() {
  FuzzFormat out = FromCorpus("chat_template", [](const std::string&, const std::string& bytes) {
    return OneFile("/chat_template.jinja", bytes, "/chat_template.jinja", RenderConversations);
  });
  out.beginnings = true;
  return out;
}

// --- JSON schemas ------------------------------------------------------------------------------

constexpr int kWalk = 80;  // bytes of a text that a schema allows

// Writes a text byte by byte as a model would that chooses at random: whatever a schema is, there
// is always a next byte until the text is whole JSON.
absl::Status WriteAllowed(const std::string& schema, const std::string&) {
  ASSIGN_OR_RETURN(JsonGrammar grammar, CompileJsonSchema(schema));
  static const auto* const vocabulary = new std::shared_ptr<const JsonVocabulary>(
      std::make_shared<JsonVocabulary>(ByteTokenizer(), kByteVocabulary));
  JsonConstraint constraint(std::make_shared<JsonAutomaton>(std::move(grammar)), *vocabulary,
                            {kEosId});
  Philox random(HashString(schema));
  std::string text;
  while (text.size() < kWalk) {
    std::vector<int32_t> allowed, closing;
    constraint.allowed().ForEach([&](int32_t id) {
      allowed.push_back(id);
      if (id == kEosId || absl::StrContains("\"]}:,", ByteTokenizer().TokenBytes(id)))
        closing.push_back(id);
    });
    if (allowed.empty())
      return absl::InternalError(absl::StrCat("no byte may follow `", text, "`"));
    const std::vector<int32_t>& from = closing.empty() || random.Below(2) == 0 ? allowed : closing;
    const int32_t id = from[random.Below(from.size())];
    if (id == kEosId) break;
    constraint.Accept(id);
    text += ByteTokenizer().TokenBytes(id);
  }
  if (constraint.complete() && !nlohmann::json::accept(text))
    return absl::InternalError(absl::StrCat("`", text, "` is complete and no JSON"));
  return absl::OkStatus();
}

FuzzFormat JsonSchemas() {
  return FromCorpus("json_schema", [](const std::string&, const std::string& bytes) {
    return OneFile("/schema.json", bytes, "json_schema", WriteAllowed);
  });
}

// --- bodies of the OpenAI-compatible API -------------------------------------------------------

template <auto kParse>
absl::Status ReadBody(const std::string& text, const std::string&) {
  const auto parsed = kParse(text);
  return Annotate(parsed.status(), absl::StrCat("parameter ", ParameterOf(parsed.status())));
}

FuzzFormat OpenAiRequests() {
  return FromCorpus("openai_request", [](const std::string& name, const std::string& bytes) {
    return OneFile("/body", bytes, "parameter",
                   absl::StartsWith(name, "ok_chat")         ? ReadBody<ParseChatRequest>
                   : absl::StartsWith(name, "ok_embeddings") ? ReadBody<ParseEmbeddingsRequest>
                                                             : ReadBody<ParseCompletionRequest>);
  });
}

// --- training's --------------------------------------------------------------------------------

absl::Status ReadRunYaml(const std::string& text, const std::string& path) {
  ASSIGN_OR_RETURN(const RunSpec spec, ParseRunSpec(text, path, "/base"));
  const std::string canonical = CanonicalYaml(spec);
  const absl::StatusOr<RunSpec> again = ParseRunSpec(canonical, path, "/base");
  if (again.ok() && CanonicalYaml(*again) == canonical) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the canonical form is not read as it was written: ",
                                          again.status().ToString(), "\n", canonical));
}

FuzzFormat RunYamls() {
  FuzzFormat out = FromCorpus("run_yaml", [](const std::string&, const std::string& bytes) {
    return OneFile("/run.yaml", bytes, "/run.yaml", ReadRunYaml);
  });
  out.beginnings = true;
  return out;
}

FuzzFormat CheckpointManifests() {
  CheckpointManifest manifest;
  manifest.run_id = "01hz";
  manifest.step = 400;
  manifest.epoch = 3;
  manifest.attempt = "a1";
  manifest.spec_hash = std::string(64, 'b');
  manifest.spec_yaml = "name: \"x\"\n";
  manifest.files = {{"share-0-of-2.safetensors", 123, std::string(64, '0')},
                    {"share-1-of-2.safetensors", 456, std::string(64, 'f')}};
  return {"checkpoint_manifest",
          {OneFile("/manifest.json", ManifestToJson(manifest), "/manifest.json",
                   [](const std::string& text, const std::string& path) {
                     return ManifestFromJson(text, path).status();
                   })}};
}

}  // namespace

std::map<std::string, std::string> FuzzCorpus(const std::string& format) {
  std::map<std::string, std::string> files;
  Env* const env = Env::Real();
  const std::string folder = JoinPath(kCorpus, format);
  if (!env->IsDirectory(folder)) return files;
  const std::vector<std::string> names = *env->ListDir(folder);
  for (const std::string& name : names) files[name] = *env->ReadFile(JoinPath(folder, name));
  return files;
}

std::vector<FuzzFormat> TextFuzzFormats() {
  return {BesideTokenizer("tokenizer_config", "tokenizer_config.json"),
          BesideTokenizer("generation_config", "generation_config.json"),
          ChatTemplates(),
          JsonSchemas(),
          OpenAiRequests(),
          RunYamls(),
          CheckpointManifests()};
}

}  // namespace tritter
