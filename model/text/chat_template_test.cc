#include "model/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/random.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;

constexpr char kChatMl[] = R"({%- for message in messages %}
    {%- if not loop.first and message.role == 'system' %}
        {{- raise_exception('a late system message') }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\n' + message.content | trim ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %})";

ChatTemplateInput Hello() {
  ChatTemplateInput input;
  input.messages = {{{"role", "system"}, {"content", "Be kind. "}},
                    {{"role", "user"}, {"content", "  hello"}}};
  input.bos_token = "<s>";
  return input;
}

absl::StatusOr<std::string> Render(absl::string_view source,
                                   const ChatTemplateInput& input = Hello()) {
  const auto chat = ChatTemplate::Parse(source);
  if (!chat.ok()) return chat.status();
  return chat->Render(input);
}

TEST(ChatTemplate, RendersMessages) {
  ChatTemplateInput input = Hello();
  input.add_generation_prompt = true;
  EXPECT_EQ(Render(kChatMl, input).value(),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplate, WhitespaceGoesAsTheLibrarySetsIt) {
  EXPECT_EQ(Render("a\n  {% if true %}\n  b\n  {% endif %}\nc\n").value(), "a\n  b\nc");
  EXPECT_EQ(Render("a {%- if true -%} b {% endif %}\nc").value(), "ab c");
  EXPECT_EQ(Render("{{ 'a' }}\n {{- 'b' }}\n").value(), "ab");
  EXPECT_EQ(Render("a {# c #}\r\nb").value(), "a b");
  EXPECT_EQ(Render(" {%+ if true +%}\nx{% endif %}").value(), " \nx");
}

TEST(ChatTemplate, VariablesOfTheCaller) {
  ChatTemplateInput input = Hello();
  input.more = {{"enable_thinking", false}, {"n", 3}};
  input.now = absl::FromUnixSeconds(1'700'000'000);
  EXPECT_EQ(Render("{{ bos_token }}{{ eos_token is defined }}{{ tools is none }}"
                   "{{ enable_thinking is false }}{{ n + 1 }}{{ strftime_now('%d %b %Y') }}",
                   input)
                .value(),
            "<s>FalseTrueTrue414 Nov 2023");
}

TEST(ChatTemplate, ErrorsSayWhereAndWhat) {
  ChatTemplateInput late = Hello();
  late.messages.push_back({{"role", "system"}, {"content", "x"}});
  EXPECT_THAT(Render(kChatMl, late),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("3:28: the template refuses the messages: a late system")));
  const std::vector<std::pair<std::string, std::string>> unsupported = {
      {"\n {% macro f() %}{% endmacro %}", "2:5: `macro` is not supported in chat templates"},
      {"{% include 'x' %}", "1:4: `include`"},
      {"{{ 2 ** 3 }}", "1:6: `**`"},
      {"{{ 1 < 2 < 3 }}", "a chain of comparisons"},
      {"{{ 'a'|wordwrap }}", "1:7: filter `wordwrap` is not supported"},
      {"{{ 'a' is upper }}", "1:8: test `upper` is not supported"},
      {"{{ 'a'.zfill(3) }}", "method `zfill` of a text is not supported"},
      {"{{ 'É'|lower }}", "letters beyond ASCII"},
      {"{% set a, b = 1, 2 %}", "`set` of several names"},
      {"{% for x in y recursive %}{% endfor %}", "`recursive`"},
      {"{{ {1: 2} }}", "keys are texts"},
      {"{{ [namespace()] }}", "a namespace in a list"},
  };
  for (const auto& [source, message] : unsupported) {
    EXPECT_THAT(Render(source), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(message)))
        << source;
  }
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"{{ 'a }}", "1:4: the text is not closed"},
      {"{{ 1", "the tag is not closed"},
      {"{# x", "the comment is not closed"},
      {"{% if true %}", "the template ends without `endif`"},
      {"{% endif %}", "`endif` is not expected"},
      {"{{ 1 2 }}", "1:6: expected `}}`, found a number"},
      {"{{ ! }}", "`!` is not expected"},
      {"{{ a.b }}", "`a` is undefined"},
      {"{{ messages[0].x.y }}", "`messages[0].x` is undefined"},
      {"{{ f() }}", "`f` is undefined"},
      {"{{ messages() }}", "`messages` is a list, expected a function"},
      {"{{ 1 + 'a' }}", "1:6: `+` of a whole number and a text"},
      {"{{ 9223372036854775807 + 1 }}", "the number is too large"},
      {"{{ 9223372036854775808 }}", "the number is too large"},
      {"{% break %}", "in no loop"},
      {"{% set x.y = 1 %}", "expected a namespace"},
      {"{% for a, b in [1] %}{% endfor %}", "2 names"},
      {"{{ 1 // 0 }}", "division by zero"},
      {"\xFF", "not UTF-8"},
  };
  for (const auto& [source, message] : wrong) {
    EXPECT_THAT(Render(source), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << source;
  }
}

TEST(ChatTemplate, WorkTextAndDepthAreBounded) {
  const std::string r = "range(100000)";
  for (const std::string& source : std::vector<std::string>{
           "{% for a in " + r + " %}{% for b in " + r + " %}{% endfor %}{% endfor %}",
           "{% for a in " + r + " %}{{ 'a' * 10000 }}{% endfor %}", "{{ 'a' * 100000000 }}",
           "{{ range(1000000000) }}",
           "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}"
           "{% endfor %}",
           "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
           "{% endfor %}{{ ns.x }}",
           "{% set ns = namespace(x=[1]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}"
           "{% endfor %}",
           "{% set ns = namespace(x='a') %}{% for i in range(20) %}"
           "{% set ns.x = ns.x|replace('a', 'aaaa') %}{% endfor %}"}) {
    EXPECT_THAT(Render(source), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1:")))
        << source;
  }
  for (const std::string& open : {"(", "[", "{{", "not ", "-", "{% if x %}", "1 if "}) {
    std::string deep = open[0] == '{' && open[1] == '%' ? "" : "{{ ";
    for (int i = 0; i < 20000; ++i) deep += open;
    EXPECT_FALSE(Render(deep).ok()) << open;
  }
  std::string chain = "{{ 1";
  for (int i = 0; i < 100'000; ++i) chain += " + 1";
  EXPECT_THAT(Render(chain + " }}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("operators in a chain")));
  ChatTemplateInput input;
  ordered_json deep = "x";
  for (int i = 0; i < 200; ++i) deep = ordered_json::array({deep});
  input.messages = {{{"role", "user"}, {"content", deep}}};
  EXPECT_THAT(Render("", input),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nested deeper")));
}

// Whatever becomes of a template, rendering ends with a text or a status.
TEST(ChatTemplate, DamageGivesAStatus) {
  Philox random(4);
  int rendered = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string source = kChatMl;
    for (uint64_t n = 1 + random.Below(4); n > 0; --n) {
      const size_t at = random.Below(source.size()), size = random.Below(12);
      switch (random.Below(3)) {
        case 0:
          source[at] = "{}%-#'\"()[]|.,+~ x1=\n\xC3"[random.Below(22)];
          break;
        case 1:
          source.erase(at, size);
          break;
        default:
          source.insert(at, source.substr(random.Below(source.size()), size));
          break;
      }
    }
    rendered += Render(source).ok();
  }
  EXPECT_GT(rendered, 100);
}

}  // namespace
}  // namespace tritter
