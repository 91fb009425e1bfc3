#include "inference/json_grammar.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/json_depth.h"
#include "common/short_text.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

using Json = nlohmann::ordered_json;  // properties are written in the order of the schema
using Kind = JsonNode::Kind;
using Keywords = std::vector<absl::string_view>;

constexpr int kMaxDepth = 100;
constexpr size_t kMaxNodes = 20000;

// Say nothing about what is allowed.
const Keywords& Annotations() {
  static const auto* keywords =
      new Keywords{"title", "description", "default",    "examples", "$schema",
                   "$id",   "$comment",    "deprecated", "readOnly", "writeOnly"};
  return *keywords;
}

bool Contains(const Keywords& keywords, absl::string_view word) {
  return std::find(keywords.begin(), keywords.end(), word) != keywords.end();
}

absl::Status Refuse(absl::string_view path, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("json_schema: ", ShortText(path), ": ", ShortText(what, 500)));
}

std::string Below(absl::string_view path, absl::string_view name) {
  return absl::StrCat(path, "/", absl::StrReplaceAll(name, {{"~", "~0"}, {"/", "~1"}}));
}

class Compiler {
 public:
  explicit Compiler(const Json& schema) : schema_(schema) {}

  absl::StatusOr<JsonGrammar> Compile() {
    ASSIGN_OR_RETURN(const int32_t root, Ref("#", "#", 0));
    RETURN_IF_ERROR(Flatten());
    RETURN_IF_ERROR(CheckFinite());
    return JsonGrammar{std::move(nodes_), root};
  }
  JsonGrammar AnyObject() {
    Any();
    const int32_t root = nodes_[static_cast<size_t>(any_)].alternatives[0];
    return JsonGrammar{std::move(nodes_), root};
  }

 private:
  int32_t Add(JsonNode node) {
    nodes_.push_back(std::move(node));
    return static_cast<int32_t>(nodes_.size() - 1);
  }

  int32_t Any() {
    if (any_ != JsonNode::kNone) return any_;
    any_ = Add({.kind = Kind::kAnyOf});
    const int32_t object = Add({.kind = Kind::kObject, .other = any_, .any = true});
    const int32_t array = Add({.kind = Kind::kArray, .items = any_, .any = true});
    const int32_t string = Add({.kind = Kind::kString}), number = Add({.kind = Kind::kNumber});
    const int32_t words = Add({.kind = Kind::kLiterals, .literals = {"false", "null", "true"}});
    nodes_[static_cast<size_t>(any_)].alternatives = {object, array, string, number, words};
    return any_;
  }

  // The node of "#" or "#/$defs/name"; made at the first mention, so that schemas may be recursive.
  absl::StatusOr<int32_t> Ref(const std::string& pointer, absl::string_view path, int depth) {
    if (const auto known = refs_.find(pointer); known != refs_.end()) return known->second;
    const Json* target = nullptr;
    if (pointer == "#") target = &schema_;
    for (const char* const defs : {"$defs", "definitions"}) {
      const std::string prefix = absl::StrCat("#/", defs, "/");
      if (!absl::StartsWith(pointer, prefix) || !schema_.contains(defs)) continue;
      const std::string name =
          absl::StrReplaceAll(pointer.substr(prefix.size()), {{"~1", "/"}, {"~0", "~"}});
      if (schema_[defs].is_object() && schema_[defs].contains(name)) target = &schema_[defs][name];
    }
    if (target == nullptr) {
      return Refuse(path, absl::StrCat("refers to \"", pointer,
                                       "\", which is not there; expected \"#\" or "
                                       "\"#/$defs/\" and a name of them"));
    }
    const int32_t node = Add({.kind = Kind::kAnyOf, .path = pointer});
    refs_[pointer] = node;
    ASSIGN_OR_RETURN(const int32_t value, Value(*target, pointer, depth));
    nodes_[static_cast<size_t>(node)].alternatives = {value};
    return node;
  }

  // All keywords but annotations must be among `supported`.
  absl::Status CheckKeywords(const Json& schema, const std::string& path,
                             const Keywords& supported) const {
    for (const auto& [key, unused] : schema.items()) {
      if (Contains(Annotations(), key) || Contains(supported, key)) continue;
      if (path == "#" && (key == "$defs" || key == "definitions")) continue;
      return Refuse(Below(path, key), absl::StrCat("not supported here; supported are: ",
                                                   absl::StrJoin(supported, ", ")));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int32_t> Value(const Json& schema, const std::string& path, int depth) {
    if (schema.is_boolean() && schema.get<bool>()) return Any();
    if (!schema.is_object())
      return Refuse(path, absl::StrCat("expected an object or true, actual ", schema.dump()));
    if (depth > kMaxDepth) return Refuse(path, absl::StrCat("nested deeper than ", kMaxDepth));
    if (nodes_.size() > kMaxNodes)
      return Refuse(path, absl::StrCat("the schema has more than ", kMaxNodes, " parts"));
    if (schema.contains("$ref")) {
      RETURN_IF_ERROR(CheckKeywords(schema, path, {"$ref"}));
      if (!schema["$ref"].is_string()) return Refuse(Below(path, "$ref"), "expected a string");
      return Ref(schema["$ref"].get<std::string>(), Below(path, "$ref"), depth + 1);
    }
    if (schema.contains("anyOf")) {
      RETURN_IF_ERROR(CheckKeywords(schema, path, {"anyOf"}));
      return AnyOf(schema["anyOf"], Below(path, "anyOf"), depth);
    }
    if (schema.contains("enum") || schema.contains("const")) return Literals(schema, path);
    if (schema.contains("type") && schema["type"].is_array()) return Types(schema, path, depth);
    return Typed(schema, TypeOf(schema), path, depth);
  }

  // Without `type` it follows from keywords that only one type has; "" means any value.
  static Json TypeOf(const Json& schema) {
    if (schema.contains("type")) return schema["type"];
    const auto has = [&](const Keywords& keywords) {
      return std::any_of(keywords.begin(), keywords.end(),
                         [&](absl::string_view k) { return schema.contains(std::string(k)); });
    };
    if (has({"properties", "required", "additionalProperties"})) return "object";
    if (has({"items", "minItems", "maxItems"})) return "array";
    if (has({"minLength", "maxLength"})) return "string";
    return "";
  }

  absl::StatusOr<int32_t> Typed(const Json& schema, const Json& type, const std::string& path,
                                int depth) {
    const std::string name = type.is_string() ? type.get<std::string>() : type.dump();
    if (name.empty()) {
      RETURN_IF_ERROR(CheckKeywords(schema, path, {"type", "anyOf", "$ref", "enum", "const"}));
      return Any();
    }
    if (name == "object") return Object(schema, path, depth);
    if (name == "array") return Array(schema, path, depth);
    if (name == "string") return String(schema, path);
    RETURN_IF_ERROR(CheckKeywords(schema, path, {"type"}));
    if (name == "integer") return Add({.kind = Kind::kInteger, .path = path});
    if (name == "number") return Add({.kind = Kind::kNumber, .path = path});
    if (name == "null") return Add({.kind = Kind::kLiterals, .literals = {"null"}, .path = path});
    if (name == "boolean")
      return Add({.kind = Kind::kLiterals, .literals = {"false", "true"}, .path = path});
    return Refuse(Below(path, "type"),
                  absl::StrCat("expected object, array, string, integer, number, boolean or null, ",
                               "or a list of them, actual ", type.dump()));
  }

  // Each type sees the keywords that are its own.
  absl::StatusOr<int32_t> Types(const Json& schema, const std::string& path, int depth) {
    static const auto* const own = new std::map<std::string, Keywords>{
        {"object", {"properties", "required", "additionalProperties"}},
        {"array", {"items", "minItems", "maxItems"}},
        {"string", {"minLength", "maxLength"}}};
    const Json& types = schema["type"];
    if (types.empty()) return Refuse(Below(path, "type"), "expected at least one type");
    // There are seven: a longer list would only be copied that often.
    if (std::set<Json>(types.begin(), types.end()).size() != types.size())
      return Refuse(Below(path, "type"), "names a type twice");
    const int32_t node = Add({.kind = Kind::kAnyOf, .path = path});
    for (const Json& type : types) {
      if (!type.is_string()) return Refuse(Below(path, "type"), "expected names of types");
      Json narrowed = schema;
      for (const auto& [name, keywords] : *own) {
        const bool listed = std::find(types.begin(), types.end(), Json(name)) != types.end();
        if (!listed || type == name) continue;
        for (const absl::string_view k : keywords) narrowed.erase(std::string(k));
      }
      ASSIGN_OR_RETURN(const int32_t value, Typed(narrowed, type, path, depth + 1));
      nodes_[static_cast<size_t>(node)].alternatives.push_back(value);
    }
    return node;
  }

  absl::StatusOr<int32_t> AnyOf(const Json& schemas, const std::string& path, int depth) {
    if (!schemas.is_array() || schemas.empty())
      return Refuse(path, "expected an array with at least one schema");
    const int32_t node = Add({.kind = Kind::kAnyOf, .path = path});
    for (size_t i = 0; i < schemas.size(); ++i) {
      ASSIGN_OR_RETURN(const int32_t value,
                       Value(schemas[i], Below(path, absl::StrCat(i)), depth + 1));
      nodes_[static_cast<size_t>(node)].alternatives.push_back(value);
    }
    return node;
  }

  static bool HasType(const Json& value, const Json& type) {
    if (type.is_array()) {
      return std::any_of(type.begin(), type.end(),
                         [&](const Json& one) { return !one.is_array() && HasType(value, one); });
    }
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    if (type == "boolean") return value.is_boolean();
    return type == "null" && value.is_null();
  }

  absl::StatusOr<int32_t> Literals(const Json& schema, const std::string& path) {
    const bool one = schema.contains("const");
    const std::string keyword = one ? "const" : "enum";
    RETURN_IF_ERROR(CheckKeywords(schema, path, {"type", keyword}));
    const Json values = one ? Json::array({schema["const"]}) : schema["enum"];
    if (!values.is_array() || values.empty())
      return Refuse(Below(path, keyword), "expected an array with at least one value");
    std::set<std::string> texts;
    for (const Json& value : values) {
      if (schema.contains("type") && !HasType(value, schema["type"])) {
        return Refuse(Below(path, keyword),
                      absl::StrCat(value.dump(), " is not of type ", schema["type"].dump()));
      }
      texts.insert(value.dump());
    }
    return Add({.kind = Kind::kLiterals, .literals = {texts.begin(), texts.end()}, .path = path});
  }

  // `min` and `max` of a node from two keywords.
  static absl::Status Bounds(const Json& schema, const std::string& path, const char* least,
                             const char* most, JsonNode* node) {
    for (const auto& [keyword, bound] : {std::pair{least, &node->min}, {most, &node->max}}) {
      if (!schema.contains(keyword)) continue;
      const Json& value = schema[keyword];
      if (!value.is_number_unsigned() || value.get<uint64_t>() >= uint64_t{JsonNode::kUnbounded}) {
        return Refuse(Below(path, keyword),
                      absl::StrCat("expected a whole number of 0 and more, actual ", value.dump()));
      }
      *bound = value.get<int32_t>();
    }
    if (node->min <= node->max) return absl::OkStatus();
    return Refuse(path,
                  absl::StrCat(least, " ", node->min, " is more than ", most, " ", node->max));
  }

  absl::StatusOr<int32_t> String(const Json& schema, const std::string& path) {
    RETURN_IF_ERROR(
        CheckKeywords(schema, path, {"type", "enum", "const", "minLength", "maxLength"}));
    JsonNode node{.kind = Kind::kString, .path = path};
    RETURN_IF_ERROR(Bounds(schema, path, "minLength", "maxLength", &node));
    return Add(std::move(node));
  }

  absl::StatusOr<int32_t> Array(const Json& schema, const std::string& path, int depth) {
    RETURN_IF_ERROR(CheckKeywords(schema, path, {"type", "items", "minItems", "maxItems"}));
    JsonNode node{.kind = Kind::kArray, .path = path};
    RETURN_IF_ERROR(Bounds(schema, path, "minItems", "maxItems", &node));
    if (schema.contains("items")) {
      ASSIGN_OR_RETURN(node.items, Value(schema["items"], Below(path, "items"), depth + 1));
    } else {
      node.items = Any();
    }
    return Add(std::move(node));
  }

  absl::StatusOr<int32_t> Object(const Json& schema, const std::string& path, int depth) {
    RETURN_IF_ERROR(
        CheckKeywords(schema, path, {"type", "properties", "required", "additionalProperties"}));
    JsonNode node{.kind = Kind::kObject, .path = path};
    const Json properties = schema.value("properties", Json::object());
    if (!properties.is_object()) return Refuse(Below(path, "properties"), "expected an object");
    for (const auto& [name, property] : properties.items()) {
      ASSIGN_OR_RETURN(const int32_t value,
                       Value(property, Below(Below(path, "properties"), name), depth + 1));
      node.properties.push_back({Json(name).dump(), value, false});
    }
    const Json& other = schema.value("additionalProperties", Json(true));
    if (other != false) {
      ASSIGN_OR_RETURN(node.other, Value(other, Below(path, "additionalProperties"), depth + 1));
    }
    RETURN_IF_ERROR(Require(schema, path, &node));
    for (const JsonNode::Property& p : node.properties) {
      // Other keys are written without escapes, so that only such names can be met.
      if (p.key.find('\\') == std::string::npos)
        node.names.push_back(p.key.substr(1, p.key.size() - 2));
    }
    std::sort(node.names.begin(), node.names.end());
    return Add(std::move(node));
  }

  static absl::Status Require(const Json& schema, const std::string& path, JsonNode* node) {
    if (!schema.contains("required")) return absl::OkStatus();
    const std::string here = Below(path, "required");
    if (!schema["required"].is_array()) return Refuse(here, "expected an array of names");
    std::map<std::string, size_t> known;
    for (size_t i = 0; i < node->properties.size(); ++i) known[node->properties[i].key] = i;
    for (const Json& name : schema["required"]) {
      if (!name.is_string()) return Refuse(here, "expected an array of names");
      const std::string key = name.dump();
      if (const auto property = known.find(key); property != known.end()) {
        node->properties[property->second].required = true;
      } else if (node->other != JsonNode::kNone) {
        known[key] = node->properties.size();
        node->properties.push_back({key, node->other, true});
      } else {
        return Refuse(
            here, absl::StrCat(key, " is not among `properties`, and others are not ", "allowed"));
      }
    }
    return absl::OkStatus();
  }

  // Any-ofs of any-ofs become one.
  absl::Status Flatten() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].kind != Kind::kAnyOf) continue;
      std::set<int32_t> seen = {static_cast<int32_t>(i)};
      std::vector<int32_t> open = nodes_[i].alternatives, flat;
      for (size_t next = 0; next < open.size(); ++next) {
        if (!seen.insert(open[next]).second) continue;
        const JsonNode& node = nodes_[static_cast<size_t>(open[next])];
        if (node.kind == Kind::kAnyOf) {
          open.insert(open.end(), node.alternatives.begin(), node.alternatives.end());
        } else {
          flat.push_back(open[next]);
        }
      }
      if (flat.empty()) return Refuse(nodes_[i].path, "refers to nothing but itself");
      nodes_[i].alternatives = std::move(flat);
    }
    return absl::OkStatus();
  }

  absl::Status CheckFinite() const {
    std::vector<bool> ends(nodes_.size(), false);
    const auto is = [&](int32_t node) { return ends[static_cast<size_t>(node)]; };
    for (bool more = true; more;) {
      more = false;
      for (size_t i = 0; i < nodes_.size(); ++i) {
        const JsonNode& n = nodes_[i];
        bool can = true;
        if (n.kind == Kind::kArray) can = n.min == 0 || is(n.items);
        if (n.kind == Kind::kAnyOf)
          can = std::any_of(n.alternatives.begin(), n.alternatives.end(), is);
        for (const JsonNode::Property& p : n.properties) can = can && (!p.required || is(p.value));
        if (can && !ends[i]) ends[i] = more = true;
      }
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!ends[i]) return Refuse(nodes_[i].path, "contains itself without end");
    }
    return absl::OkStatus();
  }

  const Json& schema_;
  std::vector<JsonNode> nodes_;
  std::map<std::string, int32_t> refs_;
  int32_t any_ = JsonNode::kNone;
};

}  // namespace

absl::Status CheckJsonSchemaSize(absl::string_view schema) {
  if (schema.size() <= kMaxJsonSchemaBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "json_schema has ", schema.size(), " bytes, at most ", kMaxJsonSchemaBytes, " are allowed"));
}

absl::StatusOr<JsonGrammar> CompileJsonSchema(absl::string_view schema) {
  RETURN_IF_ERROR(CheckJsonSchemaSize(schema));
  // Copying and writing values takes stack for each level.
  if (const int depth = JsonDepth(schema); depth > kMaxJsonSchemaDepth) {
    return absl::InvalidArgumentError(absl::StrCat("json_schema is nested ", depth,
                                                   " levels deep, at most ", kMaxJsonSchemaDepth,
                                                   " are allowed"));
  }
  const Json json = Json::parse(schema, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded())
    return absl::InvalidArgumentError("json_schema: not JSON; expected a JSON Schema object");
  return Compiler(json).Compile();
}

JsonGrammar AnyJsonObject() { return Compiler(Json()).AnyObject(); }

}  // namespace tritter
