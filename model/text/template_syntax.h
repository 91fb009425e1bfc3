// The Jinja that chat templates are written in, as a tree.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/text/template_value.h"

namespace tritter {

struct TemplatePosition {
  int line = 1, column = 1;
};
// "3:14: what"
absl::Status TemplateError(TemplatePosition at, absl::string_view what);

struct TemplateExpr {
  enum class Kind {
    kLiteral,    // value
    kName,       // name
    kList,       // args
    kMap,        // args: key, value, key, value, …
    kAttribute,  // args[0].name
    kItem,       // args[0][args[1]]
    kSlice,      // args[0][args[1]:args[2]:args[3]], null where nothing is given
    kCall,       // args[0](args[1]…, named)
    kFilter,     // args[0] | name(args[1]…, named)
    kTest,       // args[0] is name(args[1]…)
    kUnary,      // name: "not", "-", "+"
    kBinary,     // name: operator
    kAnd,
    kOr,
    kIf,  // args[1] if args[0] else args[2] (null: undefined)
  };
  Kind kind;
  TemplatePosition at;
  int height = 1;  // of the tree, along chains of operators
  std::string name;
  TemplateValue value;
  std::vector<std::unique_ptr<TemplateExpr>> args;
  std::vector<std::pair<std::string, std::unique_ptr<TemplateExpr>>> named;
};
using TemplateExprPtr = std::unique_ptr<TemplateExpr>;

struct TemplateNode {
  enum class Kind {
    kText,   // text
    kPrint,  // expr
    kIf,     // expr, body, otherwise
    kFor,    // names in expr if condition: body, else otherwise
    kSet,    // names[0], or member of it, = expr, or of body's text where expr is null
    kBreak,
    kContinue,
    kBlock,  // body
  };
  Kind kind;
  TemplatePosition at;
  std::string text, member;
  std::vector<std::string> names;
  TemplateExprPtr expr, condition;
  std::vector<TemplateNode> body, otherwise;
};

// With trim_blocks and lstrip_blocks, as the transformers library sets them. Errors:
// InvalidArgument at line:column for what is not Jinja, Unimplemented naming a construct that is
// not supported.
absl::StatusOr<std::vector<TemplateNode>> ParseTemplate(absl::string_view source);

// --- tokens, between lexer and parser ---------------------------------------------------------

struct TemplateToken {
  enum class Kind {
    kData,
    kPrintBegin,
    kPrintEnd,
    kTagBegin,
    kTagEnd,
    kName,
    kText,
    kInt,
    kFloat,
    kSign,
    kEnd
  };
  Kind kind;
  TemplatePosition at;
  std::string text;
  double number = 0;
  int64_t whole = 0;
};
absl::StatusOr<std::vector<TemplateToken>> TemplateTokens(absl::string_view source);

}  // namespace tritter
