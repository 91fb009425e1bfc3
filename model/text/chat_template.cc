#include "model/text/chat_template.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/short_text.h"
#include "common/status_macros.h"
#include "model/text/template_functions.h"

namespace tritter {
namespace {

using Expr = TemplateExpr;
using Node = TemplateNode;
using Value = TemplateValue;
using ValueOr = absl::StatusOr<Value>;
using Type = Value::Type;

constexpr int64_t kMaxWork = 20'000'000;          // steps, each some 64 bytes of text
constexpr int64_t kLoopWork = 10;                 // of one time round
constexpr int64_t kMaxWeight = int64_t{1} << 26;  // of one value
constexpr int64_t kMaxRange = 100'000;

// "messages[0].role" of what can be shown so.
std::string Shown(const Expr& e) {
  switch (e.kind) {
    case Expr::Kind::kName:
      return e.name;
    case Expr::Kind::kLiteral:
      return e.value.Repr().substr(0, 40);
    case Expr::Kind::kAttribute:
      return absl::StrCat(Shown(*e.args[0]), ".", e.name);
    case Expr::Kind::kItem:
      return absl::StrCat(Shown(*e.args[0]), "[", Shown(*e.args[1]), "]");
    default:
      return "(…)";
  }
}

class Evaluator {
 public:
  Evaluator(std::map<std::string, Value> variables, absl::Time now)
      : now_(now), scopes_{std::move(variables)} {}

  absl::StatusOr<std::string> Run(const std::vector<Node>& nodes) {
    std::string out;
    Flow flow = Flow::kOn;
    RETURN_IF_ERROR(Body(nodes, &out, &flow));
    return out;
  }

 private:
  enum class Flow { kOn, kBreak, kContinue };

  absl::Status Work(TemplatePosition at, int64_t steps) {
    work_ += steps;
    if (work_ <= kMaxWork) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat(at.line, ":", at.column,
                                                     ": the template needs more than ", kMaxWork,
                                                     " steps; a loop over too much?"));
  }

  // Names the place in errors that have none.
  static absl::Status At(TemplatePosition at, const absl::Status& status) {
    return Annotate(status, absl::StrCat(at.line, ":", at.column));
  }

  absl::Status Fits(TemplatePosition at, const Value& value) {
    if (value.weight() > kMaxWeight || value.depth() > kMaxTemplateDepth) {
      return absl::ResourceExhaustedError(
          absl::StrCat(at.line, ":", at.column, ": a value is larger than ", kMaxWeight,
                       " bytes or nested deeper than ", kMaxTemplateDepth, " levels"));
    }
    return absl::OkStatus();
  }

  // --- statements ----------------------------------------------------------------------------

  absl::Status Body(const std::vector<Node>& nodes, std::string* out, Flow* flow) {
    for (const Node& node : nodes) {
      RETURN_IF_ERROR(Work(node.at, 1));
      RETURN_IF_ERROR(Statement(node, out, flow));
      if (*flow != Flow::kOn) break;
    }
    return absl::OkStatus();
  }

  absl::Status Print(TemplatePosition at, const std::string& text, std::string* out) {
    RETURN_IF_ERROR(Work(at, static_cast<int64_t>(text.size()) / 64));
    if (out->size() + text.size() > kMaxTemplateBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          at.line, ":", at.column, ": the text is larger than ", kMaxTemplateBytes, " bytes"));
    }
    *out += text;
    return absl::OkStatus();
  }

  absl::Status Statement(const Node& node, std::string* out, Flow* flow) {
    switch (node.kind) {
      case Node::Kind::kText:
        return Print(node.at, node.text, out);
      case Node::Kind::kPrint: {
        ASSIGN_OR_RETURN(const Value value, Eval(*node.expr));
        return Print(node.at, value.Printed(), out);
      }
      case Node::Kind::kIf: {
        ASSIGN_OR_RETURN(const Value test, Eval(*node.expr));
        return Body(test.Truth() ? node.body : node.otherwise, out, flow);
      }
      case Node::Kind::kFor:
        return For(node, out, flow);
      case Node::Kind::kSet:
        return Set(node);
      case Node::Kind::kBreak:
        *flow = Flow::kBreak;
        return absl::OkStatus();
      case Node::Kind::kContinue:
        *flow = Flow::kContinue;
        return absl::OkStatus();
      case Node::Kind::kBlock:
        return Body(node.body, out, flow);
    }
    return absl::OkStatus();
  }

  absl::Status Set(const Node& node) {
    Value value;
    if (node.expr != nullptr) {
      ASSIGN_OR_RETURN(value, Eval(*node.expr));
    } else {
      std::string text;
      Flow flow = Flow::kOn;
      scopes_.emplace_back();
      RETURN_IF_ERROR(Body(node.body, &text, &flow));
      scopes_.pop_back();
      value = Value::Text(std::move(text));
    }
    if (node.member.empty()) {
      scopes_.back()[node.names[0]] = std::move(value);
      return absl::OkStatus();
    }
    Value space = Find(node.names[0]);
    if (space.type() != Type::kNamespace) {
      return TemplateError(node.at, absl::StrCat("`", node.names[0], "` is ", space.TypeName(),
                                                 ", expected a namespace to set a member of"));
    }
    RETURN_IF_ERROR(NoNamespace(node.at, value));
    space.SetMember(node.member, std::move(value));
    return absl::OkStatus();
  }

  // A namespace that holds itself would never be given back.
  static absl::Status NoNamespace(TemplatePosition at, const Value& value) {
    if (value.type() != Type::kNamespace) return absl::OkStatus();
    return absl::UnimplementedError(absl::StrCat(
        at.line, ":", at.column, ": a namespace in a list, map or namespace is not supported"));
  }

  absl::Status Bind(const Node& node, const Value& item, std::map<std::string, Value>* scope) {
    if (node.names.size() == 1) {
      (*scope)[node.names[0]] = item;
      return absl::OkStatus();
    }
    if (!item.is_list() || item.list().size() != node.names.size()) {
      return TemplateError(node.at,
                           absl::StrCat("a loop over ", node.names.size(), " names is given ",
                                        item.TypeName(), ", expected a list of as many"));
    }
    for (size_t i = 0; i < node.names.size(); ++i) (*scope)[node.names[i]] = item.list()[i];
    return absl::OkStatus();
  }

  absl::Status For(const Node& node, std::string* out, Flow* flow) {
    ASSIGN_OR_RETURN(const Value over, Eval(*node.expr));
    absl::StatusOr<TemplateList> all = ItemsToLoop(over);
    if (!all.ok()) return At(node.at, all.status());
    RETURN_IF_ERROR(Work(node.at, static_cast<int64_t>(all->size()) / 8));
    TemplateList items;
    for (Value& item : *all) {
      if (node.condition != nullptr) {
        RETURN_IF_ERROR(Work(node.at, 1));
        scopes_.emplace_back();
        RETURN_IF_ERROR(Bind(node, item, &scopes_.back()));
        ASSIGN_OR_RETURN(const Value holds, Eval(*node.condition));
        scopes_.pop_back();
        if (!holds.Truth()) continue;
      }
      items.push_back(std::move(item));
    }
    if (items.empty()) return Body(node.otherwise, out, flow);
    for (size_t i = 0; i < items.size(); ++i) {
      RETURN_IF_ERROR(Work(node.at, kLoopWork));
      scopes_.emplace_back();
      scopes_.back()["loop"] = Loop(items, i);
      RETURN_IF_ERROR(Bind(node, items[i], &scopes_.back()));
      Flow inner = Flow::kOn;
      RETURN_IF_ERROR(Body(node.body, out, &inner));
      scopes_.pop_back();
      if (inner == Flow::kBreak) break;
    }
    return absl::OkStatus();
  }

  static Value Loop(const TemplateList& items, size_t i) {
    const int64_t at = static_cast<int64_t>(i), size = static_cast<int64_t>(items.size());
    return Value::Map({{"index0", Value::Int(at)},
                       {"index", Value::Int(at + 1)},
                       {"first", Value::Bool(i == 0)},
                       {"last", Value::Bool(at + 1 == size)},
                       {"length", Value::Int(size)},
                       {"revindex", Value::Int(size - at)},
                       {"revindex0", Value::Int(size - at - 1)},
                       {"depth", Value::Int(1)},  // of recursive loops alone
                       {"depth0", Value::Int(0)},
                       {"previtem", i == 0 ? Value() : items[i - 1]},
                       {"nextitem", at + 1 == size ? Value() : items[i + 1]}});
  }

  // --- expressions ---------------------------------------------------------------------------

  Value Find(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return found->second;
    }
    for (const char* function : {"raise_exception", "namespace", "range", "dict", "strftime_now"}) {
      if (name == function) return Value::Function(name);
    }
    return Value();
  }

  ValueOr Eval(const Expr& e) {
    RETURN_IF_ERROR(Work(e.at, 1));
    ValueOr value = Compute(e);
    if (value.ok()) RETURN_IF_ERROR(Fits(e.at, *value));
    return value;
  }

  // What an operation on `value` reads.
  absl::Status Read(const Expr& e, const Value& value) { return Work(e.at, value.weight() / 64); }

  ValueOr Placed(const Expr& e, ValueOr value) {
    if (value.ok()) return value;
    return At(e.at, value.status());
  }

  absl::Status Known(const Expr& e, const Value& value) {
    if (!value.undefined()) return absl::OkStatus();
    return TemplateError(e.at, absl::StrCat("`", Shown(e), "` is undefined"));
  }

  ValueOr Compute(const Expr& e) {
    switch (e.kind) {
      case Expr::Kind::kLiteral:
        return e.value;
      case Expr::Kind::kName:
        return Find(e.name);
      case Expr::Kind::kList: {
        TemplateList list;
        for (const TemplateExprPtr& item : e.args) {
          ASSIGN_OR_RETURN(Value value, Eval(*item));
          RETURN_IF_ERROR(NoNamespace(e.at, value));
          list.push_back(std::move(value));
        }
        return Value::List(std::move(list));
      }
      case Expr::Kind::kMap:
        return Map(e);
      case Expr::Kind::kAttribute:
      case Expr::Kind::kItem: {
        ASSIGN_OR_RETURN(const Value of, Eval(*e.args[0]));
        RETURN_IF_ERROR(Known(*e.args[0], of));
        Value key = Value::Text(e.name);
        if (e.kind == Expr::Kind::kItem) {
          ASSIGN_OR_RETURN(key, Eval(*e.args[1]));
        }
        if (of.is_text()) RETURN_IF_ERROR(Read(e, of));
        return Placed(e, ItemOf(of, key));
      }
      case Expr::Kind::kSlice: {
        Value parts[4];
        for (size_t i = 0; i < 4; ++i) {
          if (e.args[i] == nullptr) continue;
          ASSIGN_OR_RETURN(parts[i], Eval(*e.args[i]));
        }
        RETURN_IF_ERROR(Read(e, parts[0]));
        return Placed(e, SliceOf(parts[0], parts[1], parts[2], parts[3]));
      }
      case Expr::Kind::kCall:
        return Call(e);
      case Expr::Kind::kFilter: {
        ASSIGN_OR_RETURN(const Value value, Eval(*e.args[0]));
        ASSIGN_OR_RETURN(const TemplateArguments arguments, Arguments(e));
        RETURN_IF_ERROR(Read(e, value));
        return Placed(e, ApplyFilter(e.name, value, arguments));
      }
      case Expr::Kind::kTest: {
        ASSIGN_OR_RETURN(const Value value, Eval(*e.args[0]));
        ASSIGN_OR_RETURN(const TemplateArguments arguments, Arguments(e));
        RETURN_IF_ERROR(Read(e, value));
        const absl::StatusOr<bool> holds = ApplyTest(e.name, value, arguments);
        if (!holds.ok()) return At(e.at, holds.status());
        return Value::Bool(*holds);
      }
      case Expr::Kind::kUnary: {
        ASSIGN_OR_RETURN(const Value value, Eval(*e.args[0]));
        if (e.name == "not") return Value::Bool(!value.Truth());
        if (e.name == "+") return Placed(e, ApplyOperator("+", Value::Int(0), value));
        return Placed(e, ApplyOperator("-", Value::Int(0), value));
      }
      case Expr::Kind::kBinary: {
        ASSIGN_OR_RETURN(const Value left, Eval(*e.args[0]));
        ASSIGN_OR_RETURN(const Value right, Eval(*e.args[1]));
        const bool equality = e.name == "==" || e.name == "!=" || e.name == "~";
        if (!equality) {
          if (e.name != "in" && e.name != "not in") {
            RETURN_IF_ERROR(Known(*e.args[0], left));
            RETURN_IF_ERROR(Known(*e.args[1], right));
          }
        }
        RETURN_IF_ERROR(Read(e, left));
        RETURN_IF_ERROR(Read(e, right));
        return Placed(e, ApplyOperator(e.name, left, right));
      }
      case Expr::Kind::kAnd:
      case Expr::Kind::kOr: {
        ASSIGN_OR_RETURN(Value left, Eval(*e.args[0]));
        if (left.Truth() == (e.kind == Expr::Kind::kOr)) return left;
        return Eval(*e.args[1]);
      }
      case Expr::Kind::kIf: {
        ASSIGN_OR_RETURN(const Value test, Eval(*e.args[0]));
        if (test.Truth()) return Eval(*e.args[1]);
        if (e.args[2] == nullptr) return Value();
        return Eval(*e.args[2]);
      }
    }
    return Value();
  }

  ValueOr Map(const Expr& e) {
    TemplateMap map;
    for (size_t i = 0; i < e.args.size(); i += 2) {
      ASSIGN_OR_RETURN(const Value key, Eval(*e.args[i]));
      ASSIGN_OR_RETURN(Value value, Eval(*e.args[i + 1]));
      if (!key.is_text()) {
        return absl::UnimplementedError(absl::StrCat(e.at.line, ":", e.at.column,
                                                     ": a key that is ", key.TypeName(),
                                                     " is not supported, keys are texts"));
      }
      RETURN_IF_ERROR(NoNamespace(e.at, value));
      RETURN_IF_ERROR(Work(e.at, static_cast<int64_t>(map.size()) / 8));
      const auto same = std::find_if(map.begin(), map.end(),
                                     [&](const auto& entry) { return entry.first == key.text(); });
      if (same != map.end()) {
        same->second = std::move(value);
      } else {
        map.emplace_back(key.text(), std::move(value));
      }
    }
    return Value::Map(std::move(map));
  }

  absl::StatusOr<TemplateArguments> Arguments(const Expr& e) {
    TemplateArguments out;
    for (size_t i = 1; i < e.args.size(); ++i) {
      ASSIGN_OR_RETURN(Value value, Eval(*e.args[i]));
      RETURN_IF_ERROR(Read(e, value));
      out.values.push_back(std::move(value));
    }
    for (const auto& [name, expr] : e.named) {
      ASSIGN_OR_RETURN(Value value, Eval(*expr));
      RETURN_IF_ERROR(Read(e, value));
      out.named.emplace_back(name, std::move(value));
    }
    return out;
  }

  ValueOr Call(const Expr& e) {
    const Expr& callee = *e.args[0];
    if (callee.kind == Expr::Kind::kAttribute) {
      ASSIGN_OR_RETURN(const Value of, Eval(*callee.args[0]));
      RETURN_IF_ERROR(Known(*callee.args[0], of));
      ASSIGN_OR_RETURN(const TemplateArguments arguments, Arguments(e));
      RETURN_IF_ERROR(Read(e, of));
      return Placed(e, CallMethod(callee.name, of, arguments));
    }
    ASSIGN_OR_RETURN(const Value function, Eval(callee));
    if (function.type() != Type::kFunction) {
      RETURN_IF_ERROR(Known(callee, function));
      return TemplateError(e.at, absl::StrCat("`", Shown(callee), "` is ", function.TypeName(),
                                              ", expected a function"));
    }
    ASSIGN_OR_RETURN(TemplateArguments arguments, Arguments(e));
    return Function(e, function.text(), std::move(arguments));
  }

  ValueOr Function(const Expr& e, const std::string& name, TemplateArguments a) {
    if (name == "raise_exception") {
      return TemplateError(
          e.at, absl::StrCat("the template refuses the messages: ", a.Get(0, "message").Printed()));
    }
    if (name == "namespace" || name == "dict") {
      TemplateMap map =
          a.values.empty() || !a.values[0].is_map() ? TemplateMap() : a.values[0].map();
      Value out = Value::Namespace(std::move(map));
      for (auto& [key, value] : a.named) {
        RETURN_IF_ERROR(NoNamespace(e.at, value));
        out.SetMember(key, std::move(value));
      }
      return name == "dict" ? Value::Map(out.map()) : out;
    }
    if (name == "strftime_now") {
      const Value format = a.Get(0, "format");
      if (!format.is_text() || format.text().size() > 1000)
        return TemplateError(e.at, "`strftime_now` needs a format");
      return Value::Text(absl::FormatTime(format.text(), now_, absl::UTCTimeZone()));
    }
    int64_t bounds[3] = {0, 0, 1};
    if (a.values.empty() || a.values.size() > 3)
      return TemplateError(e.at, "`range` needs one to three whole numbers");
    for (size_t i = 0; i < a.values.size(); ++i) {
      if (!a.values[i].whole()) return TemplateError(e.at, "`range` needs whole numbers");
      bounds[a.values.size() == 1 ? 1 : i] = a.values[i].as_int();
    }
    TemplateList list;
    const int64_t step = bounds[2];
    if (step == 0) return TemplateError(e.at, "the step of `range` is 0");
    for (int64_t at = bounds[0]; step > 0 ? at < bounds[1] : at > bounds[1];) {
      if (static_cast<int64_t>(list.size()) >= kMaxRange) {
        return absl::ResourceExhaustedError(absl::StrCat(
            e.at.line, ":", e.at.column, ": `range` gives more than ", kMaxRange, " numbers"));
      }
      list.push_back(Value::Int(at));
      if (__builtin_add_overflow(at, step, &at)) break;
    }
    RETURN_IF_ERROR(Work(e.at, static_cast<int64_t>(list.size()) / 8));
    return Value::List(std::move(list));
  }

  const absl::Time now_;
  std::vector<std::map<std::string, Value>> scopes_;
  int64_t work_ = 0;
};

// Names, and what a template says to raise_exception, have any length.
absl::Status Shortened(const absl::Status& status) {
  return absl::Status(status.code(), ShortText(status.message(), 500));
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(absl::string_view source) {
  absl::StatusOr<std::vector<TemplateNode>> nodes = ParseTemplate(source);
  if (!nodes.ok()) return Shortened(nodes.status());
  return ChatTemplate(*std::move(nodes));
}

absl::StatusOr<std::string> ChatTemplate::Render(const ChatTemplateInput& input) const {
  for (const auto* json : {&input.messages, &input.tools, &input.more}) {
    if (NestedWithin(*json, kMaxTemplateDepth - 1)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the messages are nested deeper than ", kMaxTemplateDepth - 1, " levels"));
  }
  std::map<std::string, Value> variables = {
      {"messages", Value::FromJson(input.messages)},
      {"tools", Value::FromJson(input.tools)},
      {"documents", Value::None()},
      {"add_generation_prompt", Value::Bool(input.add_generation_prompt)}};
  if (!input.bos_token.empty()) variables["bos_token"] = Value::Text(input.bos_token);
  if (!input.eos_token.empty()) variables["eos_token"] = Value::Text(input.eos_token);
  if (input.more.is_object()) {
    for (const auto& item : input.more.items())
      variables[item.key()] = Value::FromJson(item.value());
  }
  absl::StatusOr<std::string> text = Evaluator(std::move(variables), input.now).Run(*nodes_);
  if (!text.ok()) return Shortened(text.status());
  return text;
}

}  // namespace tritter
