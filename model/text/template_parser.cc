#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/text/template_syntax.h"

namespace tritter {
namespace {

using Token = TemplateToken;
using Expr = TemplateExpr;
using Node = TemplateNode;
using ExprOr = absl::StatusOr<TemplateExprPtr>;

constexpr int kMaxDepth = 100;   // of expressions and statements in each other
constexpr int kMaxHeight = 500;  // of chains of operators
constexpr size_t kMaxTemplateBytes = 1 << 20;

TemplateExprPtr Make(Expr::Kind kind, TemplatePosition at, std::string name = "") {
  auto out = std::make_unique<Expr>();
  out->kind = kind;
  out->at = at;
  out->name = std::move(name);
  return out;
}

TemplateExprPtr Make(Expr::Kind kind, TemplatePosition at, std::string name, TemplateExprPtr a,
                     TemplateExprPtr b = nullptr) {
  auto out = Make(kind, at, std::move(name));
  out->height = 1 + std::max(a->height, b == nullptr ? 0 : b->height);
  out->args.push_back(std::move(a));
  if (b != nullptr) out->args.push_back(std::move(b));
  return out;
}

TemplateExprPtr Literal(TemplatePosition at, TemplateValue value) {
  auto out = Make(Expr::Kind::kLiteral, at);
  out->value = std::move(value);
  return out;
}

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<std::vector<Node>> Run() {
    std::vector<Node> out;
    std::string end;
    RETURN_IF_ERROR(Body({}, &out, &end));
    return out;
  }

 private:
  // Depth of the recursion that is at work.
  class Level {
   public:
    explicit Level(int* depth) : depth_(depth) { ++*depth_; }
    ~Level() { --*depth_; }

   private:
    int* const depth_;
  };

  const Token& Now() const { return tokens_[at_]; }
  const Token& Take() { return tokens_[at_++]; }
  bool Is(Token::Kind kind, absl::string_view text) const {
    return Now().kind == kind && Now().text == text;
  }
  bool Sign(absl::string_view text) { return Skip(Token::Kind::kSign, text); }
  bool Word(absl::string_view text) { return Skip(Token::Kind::kName, text); }
  bool Skip(Token::Kind kind, absl::string_view text) {
    if (!Is(kind, text)) return false;
    ++at_;
    return true;
  }
  absl::Status Expected(absl::string_view what) const {
    static constexpr const char* kKinds[] = {"text",     "`{{`",   "`}}`",   "`{%`",
                                             "`%}`",     "a name", "a text", "a number",
                                             "a number", "a sign", "the end"};
    const bool shown = Now().kind == Token::Kind::kName || Now().kind == Token::Kind::kSign;
    return TemplateError(Now().at, absl::StrCat("expected ", what, ", found ",
                                                shown ? absl::StrCat("`", Now().text, "`")
                                                      : kKinds[static_cast<int>(Now().kind)]));
  }
  absl::Status Need(absl::string_view sign) {
    return Sign(sign) ? absl::OkStatus() : Expected(absl::StrCat("`", sign, "`"));
  }
  absl::Status TagEnd() {
    if (Now().kind != Token::Kind::kTagEnd) return Expected("`%}`");
    ++at_;
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Name() {
    if (Now().kind != Token::Kind::kName) return Expected("a name");
    return Take().text;
  }
  static absl::Status Unsupported(TemplatePosition at, absl::string_view what) {
    return absl::UnimplementedError(
        absl::StrCat(at.line, ":", at.column, ": ", what, " is not supported in chat templates"));
  }
  absl::Status Deep() const {
    if (depth_ <= kMaxDepth) return absl::OkStatus();
    return TemplateError(Now().at, absl::StrCat("is nested deeper than ", kMaxDepth, " levels"));
  }

  // --- statements ----------------------------------------------------------------------------

  // Until a tag of `ends`, whose word goes to `end` (the tag is read up to the word), or, with no
  // `ends`, until the end of the template.
  absl::Status Body(std::initializer_list<absl::string_view> ends, std::vector<Node>* out,
                    std::string* end) {
    const Level level(&depth_);
    RETURN_IF_ERROR(Deep());
    while (true) {
      const Token& token = Take();
      if (token.kind == Token::Kind::kEnd) {
        if (ends.size() == 0) return absl::OkStatus();
        return TemplateError(token.at,
                             absl::StrCat("the template ends without `", *(ends.end() - 1), "`"));
      }
      Node node;
      node.at = token.at;
      if (token.kind == Token::Kind::kData) {
        node.kind = Node::Kind::kText;
        node.text = token.text;
      } else if (token.kind == Token::Kind::kPrintBegin) {
        node.kind = Node::Kind::kPrint;
        ASSIGN_OR_RETURN(node.expr, Tuple());
        if (Now().kind != Token::Kind::kPrintEnd) return Expected("`}}`");
        ++at_;
      } else {
        if (Now().kind != Token::Kind::kName) return Expected("a statement");
        const Token& word = Take();
        if (std::find(ends.begin(), ends.end(), word.text) != ends.end()) {
          *end = word.text;
          return absl::OkStatus();
        }
        node.at = word.at;
        RETURN_IF_ERROR(Statement(word, &node));
      }
      out->push_back(std::move(node));
    }
  }

  absl::Status Statement(const Token& word, Node* node) {
    if (word.text == "if") return If(node);
    if (word.text == "for") return For(node);
    if (word.text == "set") return Set(node);
    if (word.text == "break" || word.text == "continue") {
      if (loops_ == 0) return TemplateError(word.at, absl::StrCat("`", word.text, "` in no loop"));
      node->kind = word.text == "break" ? Node::Kind::kBreak : Node::Kind::kContinue;
      return TagEnd();
    }
    if (word.text == "generation") {  // marks what a model wrote; gives its text
      node->kind = Node::Kind::kBlock;
      RETURN_IF_ERROR(TagEnd());
      std::string end;
      RETURN_IF_ERROR(Body({"endgeneration"}, &node->body, &end));
      return TagEnd();
    }
    for (absl::string_view known :
         {"macro", "call", "filter", "with", "block", "extends", "include", "import", "from", "raw",
          "do", "autoescape", "trans"}) {
      if (word.text == known) return Unsupported(word.at, absl::StrCat("`", known, "`"));
    }
    return TemplateError(word.at, absl::StrCat("`", word.text, "` is not expected"));
  }

  absl::Status If(Node* node) {
    node->kind = Node::Kind::kIf;
    ASSIGN_OR_RETURN(node->expr, Tuple());
    RETURN_IF_ERROR(TagEnd());
    std::string end;
    RETURN_IF_ERROR(Body({"elif", "else", "endif"}, &node->body, &end));
    if (end == "elif") {
      const Level level(&depth_);
      RETURN_IF_ERROR(Deep());
      node->otherwise.emplace_back();
      node->otherwise.back().at = tokens_[at_ - 1].at;
      return If(&node->otherwise.back());
    }
    if (end == "else") {
      RETURN_IF_ERROR(TagEnd());
      RETURN_IF_ERROR(Body({"endif"}, &node->otherwise, &end));
    }
    return TagEnd();
  }

  absl::Status For(Node* node) {
    node->kind = Node::Kind::kFor;
    const bool bracket = Sign("(");
    do {
      ASSIGN_OR_RETURN(std::string name, Name());
      node->names.push_back(std::move(name));
    } while (Sign(","));
    if (bracket) RETURN_IF_ERROR(Need(")"));
    if (!Word("in")) return Expected("`in`");
    ASSIGN_OR_RETURN(node->expr, Or());
    if (Word("if")) {
      ASSIGN_OR_RETURN(node->condition, Or());
    }
    if (Is(Token::Kind::kName, "recursive")) return Unsupported(Now().at, "`recursive`");
    RETURN_IF_ERROR(TagEnd());
    std::string end;
    ++loops_;
    RETURN_IF_ERROR(Body({"else", "endfor"}, &node->body, &end));
    --loops_;
    if (end == "else") {
      RETURN_IF_ERROR(TagEnd());
      RETURN_IF_ERROR(Body({"endfor"}, &node->otherwise, &end));
    }
    return TagEnd();
  }

  absl::Status Set(Node* node) {
    node->kind = Node::Kind::kSet;
    ASSIGN_OR_RETURN(std::string name, Name());
    node->names.push_back(std::move(name));
    if (Sign(".")) {
      ASSIGN_OR_RETURN(node->member, Name());
    }
    if (Is(Token::Kind::kSign, ",")) return Unsupported(Now().at, "`set` of several names");
    if (Sign("=")) {
      ASSIGN_OR_RETURN(node->expr, Tuple());
      return TagEnd();
    }
    if (Is(Token::Kind::kSign, "|")) return Unsupported(Now().at, "a filter of a `set` block");
    RETURN_IF_ERROR(TagEnd());
    std::string end;
    RETURN_IF_ERROR(Body({"endset"}, &node->body, &end));
    return TagEnd();
  }

  // --- expressions, from loose to tight ------------------------------------------------------

  // One expression, or several with commas: a list.
  ExprOr Tuple() {
    ASSIGN_OR_RETURN(TemplateExprPtr first, Condition());
    if (!Is(Token::Kind::kSign, ",")) return first;
    auto out = Make(Expr::Kind::kList, first->at, "", std::move(first));
    while (Sign(",")) {
      if (Now().kind == Token::Kind::kTagEnd || Now().kind == Token::Kind::kPrintEnd ||
          Is(Token::Kind::kSign, ")")) {
        break;
      }
      ASSIGN_OR_RETURN(TemplateExprPtr item, Condition());
      out->args.push_back(std::move(item));
    }
    return out;
  }

  ExprOr Condition() {
    const Level level(&depth_);
    RETURN_IF_ERROR(Deep());
    ASSIGN_OR_RETURN(TemplateExprPtr out, Or());
    while (Is(Token::Kind::kName, "if")) {
      const TemplatePosition at = Take().at;
      ASSIGN_OR_RETURN(TemplateExprPtr test, Or());
      auto choice = Make(Expr::Kind::kIf, at, "", std::move(test), std::move(out));
      RETURN_IF_ERROR(Chain(*choice));
      TemplateExprPtr otherwise;
      if (Word("else")) {
        ASSIGN_OR_RETURN(otherwise, Condition());
      }
      choice->args.push_back(std::move(otherwise));
      out = std::move(choice);
    }
    return out;
  }

  ExprOr Or() {
    ASSIGN_OR_RETURN(TemplateExprPtr out, And());
    while (Is(Token::Kind::kName, "or")) {
      const TemplatePosition at = Take().at;
      ASSIGN_OR_RETURN(TemplateExprPtr right, And());
      out = Make(Expr::Kind::kOr, at, "", std::move(out), std::move(right));
      RETURN_IF_ERROR(Chain(*out));
    }
    return out;
  }

  ExprOr And() {
    ASSIGN_OR_RETURN(TemplateExprPtr out, Not());
    while (Is(Token::Kind::kName, "and")) {
      const TemplatePosition at = Take().at;
      ASSIGN_OR_RETURN(TemplateExprPtr right, Not());
      out = Make(Expr::Kind::kAnd, at, "", std::move(out), std::move(right));
      RETURN_IF_ERROR(Chain(*out));
    }
    return out;
  }

  ExprOr Not() {
    if (!Is(Token::Kind::kName, "not")) return Compare();
    const Level level(&depth_);
    RETURN_IF_ERROR(Deep());
    const TemplatePosition at = Take().at;
    ASSIGN_OR_RETURN(TemplateExprPtr inner, Not());
    return Make(Expr::Kind::kUnary, at, "not", std::move(inner));
  }

  ExprOr Compare() {
    ASSIGN_OR_RETURN(TemplateExprPtr out, Binary(0));
    bool compared = false;
    while (true) {
      const Token& token = Now();
      std::string name;
      if (token.kind == Token::Kind::kSign) {
        for (absl::string_view sign : {"==", "!=", "<", "<=", ">", ">="}) {
          if (token.text == sign) name = token.text;
        }
      } else if (Is(Token::Kind::kName, "in")) {
        name = "in";
      } else if (Is(Token::Kind::kName, "not") && tokens_[at_ + 1].kind == Token::Kind::kName &&
                 tokens_[at_ + 1].text == "in") {
        name = "not in";
      }
      if (name.empty()) return out;
      if (compared) return Unsupported(token.at, "a chain of comparisons");
      compared = true;
      const TemplatePosition at = token.at;
      at_ += name == "not in" ? 2 : 1;
      ASSIGN_OR_RETURN(TemplateExprPtr right, Binary(0));
      out = Make(Expr::Kind::kBinary, at, std::move(name), std::move(out), std::move(right));
    }
  }

  // Levels: "+ -", "~", "* / // %". A long chain is a deep tree, so its height is bounded.
  ExprOr Binary(int tightness) {
    static const auto* signs =
        new std::vector<std::vector<std::string>>{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}};
    if (tightness == static_cast<int>(signs->size())) return Unary(/*filters=*/true);
    ASSIGN_OR_RETURN(TemplateExprPtr out, Binary(tightness + 1));
    const auto& here = (*signs)[tightness];
    while (Now().kind == Token::Kind::kSign &&
           std::find(here.begin(), here.end(), Now().text) != here.end()) {
      const Token& token = Take();
      ASSIGN_OR_RETURN(TemplateExprPtr right, Binary(tightness + 1));
      out = Make(Expr::Kind::kBinary, token.at, token.text, std::move(out), std::move(right));
      RETURN_IF_ERROR(Chain(*out));
    }
    if (Is(Token::Kind::kSign, "**")) return Unsupported(Now().at, "`**`");
    return out;
  }

  static absl::Status Chain(const Expr& e) {
    if (e.height <= kMaxHeight) return absl::OkStatus();
    return TemplateError(e.at, absl::StrCat("more than ", kMaxHeight, " operators in a chain"));
  }

  ExprOr Unary(bool filters) {
    const Level level(&depth_);
    RETURN_IF_ERROR(Deep());
    TemplateExprPtr out;
    const TemplatePosition at = Now().at;
    if (Is(Token::Kind::kSign, "-") || Is(Token::Kind::kSign, "+")) {
      const std::string sign = Take().text;
      ASSIGN_OR_RETURN(TemplateExprPtr inner, Unary(false));
      out = Make(Expr::Kind::kUnary, at, sign, std::move(inner));
    } else {
      ASSIGN_OR_RETURN(out, Primary());
    }
    return Postfix(std::move(out), filters);
  }

  ExprOr Primary() {
    const Token& token = Take();
    switch (token.kind) {
      case Token::Kind::kInt:
        return Literal(token.at, TemplateValue::Int(token.whole));
      case Token::Kind::kFloat:
        return Literal(token.at, TemplateValue::Float(token.number));
      case Token::Kind::kText: {
        std::string text = token.text;
        while (Now().kind == Token::Kind::kText) text += Take().text;
        return Literal(token.at, TemplateValue::Text(std::move(text)));
      }
      case Token::Kind::kName:
        if (token.text == "true" || token.text == "True")
          return Literal(token.at, TemplateValue::Bool(true));
        if (token.text == "false" || token.text == "False")
          return Literal(token.at, TemplateValue::Bool(false));
        if (token.text == "none" || token.text == "None")
          return Literal(token.at, TemplateValue::None());
        return Make(Expr::Kind::kName, token.at, token.text);
      case Token::Kind::kSign:
        if (token.text == "(") {
          if (Sign(")")) return Make(Expr::Kind::kList, token.at);
          ASSIGN_OR_RETURN(TemplateExprPtr inner, Tuple());
          RETURN_IF_ERROR(Need(")"));
          return inner;
        }
        if (token.text == "[") {
          auto out = Make(Expr::Kind::kList, token.at);
          while (!Sign("]")) {
            if (!out->args.empty()) {
              RETURN_IF_ERROR(Need(","));
              if (Sign("]")) break;
            }
            ASSIGN_OR_RETURN(TemplateExprPtr item, Condition());
            out->args.push_back(std::move(item));
          }
          return out;
        }
        if (token.text == "{") return MapOf(token.at);
        break;
      default:
        break;
    }
    --at_;
    return Expected("an expression");
  }

  ExprOr MapOf(TemplatePosition at) {
    auto out = Make(Expr::Kind::kMap, at);
    while (!Sign("}")) {
      if (!out->args.empty()) {
        RETURN_IF_ERROR(Need(","));
        if (Sign("}")) break;
      }
      ASSIGN_OR_RETURN(TemplateExprPtr key, Condition());
      RETURN_IF_ERROR(Need(":"));
      ASSIGN_OR_RETURN(TemplateExprPtr value, Condition());
      out->args.push_back(std::move(key));
      out->args.push_back(std::move(value));
    }
    return out;
  }

  ExprOr Postfix(TemplateExprPtr out, bool filters) {
    while (true) {
      const TemplatePosition at = Now().at;
      RETURN_IF_ERROR(Chain(*out));
      if (Sign(".")) {
        if (Now().kind == Token::Kind::kInt) {
          out = Make(Expr::Kind::kItem, at, "", std::move(out),
                     Literal(at, TemplateValue::Int(Take().whole)));
          continue;
        }
        ASSIGN_OR_RETURN(std::string name, Name());
        out = Make(Expr::Kind::kAttribute, at, std::move(name), std::move(out));
      } else if (Sign("[")) {
        ASSIGN_OR_RETURN(TemplateExprPtr part, Subscript(at, std::move(out)));
        out = std::move(part);
      } else if (Sign("(")) {
        out = Make(Expr::Kind::kCall, at, "", std::move(out));
        RETURN_IF_ERROR(Arguments(out.get()));
      } else if (filters && Sign("|")) {
        ASSIGN_OR_RETURN(std::string name, Name());
        out = Make(Expr::Kind::kFilter, at, std::move(name), std::move(out));
        if (Sign("(")) RETURN_IF_ERROR(Arguments(out.get()));
      } else if (filters && Word("is")) {
        const bool negated = Word("not");
        ASSIGN_OR_RETURN(std::string name, Name());
        out = Make(Expr::Kind::kTest, at, std::move(name), std::move(out));
        RETURN_IF_ERROR(TestArguments(out.get()));
        if (negated) out = Make(Expr::Kind::kUnary, at, "not", std::move(out));
      } else {
        return out;
      }
    }
  }

  ExprOr Subscript(TemplatePosition at, TemplateExprPtr of) {
    TemplateExprPtr parts[3];
    int colons = 0;
    while (!Sign("]")) {
      if (Sign(":")) {
        if (++colons > 2) return TemplateError(at, "a slice has at most two `:`");
        continue;
      }
      if (parts[colons] != nullptr) return Expected("`]`");
      ASSIGN_OR_RETURN(parts[colons], Condition());
    }
    if (colons == 0) {
      if (parts[0] == nullptr) return TemplateError(at, "an index is missing");
      return Make(Expr::Kind::kItem, at, "", std::move(of), std::move(parts[0]));
    }
    auto out = Make(Expr::Kind::kSlice, at, "", std::move(of));
    for (TemplateExprPtr& part : parts) out->args.push_back(std::move(part));
    return out;
  }

  absl::Status Arguments(Expr* call) {
    bool first = true;
    while (!Sign(")")) {
      if (!first) {
        RETURN_IF_ERROR(Need(","));
        if (Sign(")")) break;
      }
      first = false;
      if (Is(Token::Kind::kSign, "*") || Is(Token::Kind::kSign, "**"))
        return Unsupported(Now().at, "an argument with `*`");
      if (Now().kind == Token::Kind::kName && tokens_[at_ + 1].kind == Token::Kind::kSign &&
          tokens_[at_ + 1].text == "=") {
        std::string name = Take().text;
        ++at_;
        ASSIGN_OR_RETURN(TemplateExprPtr value, Condition());
        call->named.emplace_back(std::move(name), std::move(value));
        continue;
      }
      ASSIGN_OR_RETURN(TemplateExprPtr value, Condition());
      call->args.push_back(std::move(value));
    }
    return absl::OkStatus();
  }

  // `is divisibleby(3)` and `is divisibleby 3`.
  absl::Status TestArguments(Expr* test) {
    if (Sign("(")) return Arguments(test);
    const Token& token = Now();
    const bool value = token.kind == Token::Kind::kText || token.kind == Token::Kind::kInt ||
                       token.kind == Token::Kind::kFloat || Is(Token::Kind::kSign, "[") ||
                       Is(Token::Kind::kSign, "{");
    const bool name = token.kind == Token::Kind::kName && token.text != "else" &&
                      token.text != "or" && token.text != "and" && token.text != "if" &&
                      token.text != "is" && token.text != "in" && token.text != "not";
    if (!value && !name) return absl::OkStatus();
    ASSIGN_OR_RETURN(TemplateExprPtr argument, Primary());
    ASSIGN_OR_RETURN(TemplateExprPtr whole, Postfix(std::move(argument), /*filters=*/false));
    test->args.push_back(std::move(whole));
    return absl::OkStatus();
  }

  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<TemplateNode>> ParseTemplate(absl::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the template has ", source.size(),
                                                   " bytes, expected at most ", kMaxTemplateBytes));
  }
  ASSIGN_OR_RETURN(std::vector<Token> tokens, TemplateTokens(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace tritter
