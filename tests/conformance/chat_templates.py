#!/usr/bin/env python3
"""Compares our chat templates with the transformers library: every text must be the same.

The templates are written here after the form of those in use: ChatML, Llama 2 and 3, BitNet b1.58,
Mistral, Gemma, Phi, Qwen with tools and thinking, DeepSeek. Beside them small ones, one for each
thing that templates do. Where the library refuses, so must ours.
"""

import json
import os
import pathlib
import random
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import jinja2
    import transformers
    from transformers.utils.chat_template_utils import _compile_jinja_template
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
ANSWERS = ROOT / "bazel-bin/tests/conformance/chat_answers"

CHATML = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""

CHATML_SYSTEM = """{%- if messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
{%- endif %}
{% for message in messages %}
    {%- if loop.first and message.role == 'system' -%}
        <|im_start|>system
{{ message.content | trim }}<|im_end|>
    {%- else %}
{{- '\\n<|im_start|>' ~ message.role ~ '\\n' ~ message.content|trim ~ '<|im_end|>' }}
    {%- endif %}
{% endfor %}
{%- if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""

LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

LLAMA31 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message goes into a slot of its own #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("No first user message to put tools into") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- "Functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("One tool call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {{- "<|python_tag|>" + tool_call.name + ".call(" }}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
                {%- endfor %}
            {{- ")" }}
        {%- else  %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
            {{- '{"name": "' + tool_call.name + '", ' }}
            {{- '"parameters": ' }}
            {{- tool_call.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

BITNET = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] | capitalize + ': '+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("Roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
            {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not loop.last %}
                {{- "}, " }}
            {%- else %}
                {{- "}]" + eos_token }}
            {%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool" or message["role"] == "tool_results" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported") }}
    {%- endif %}
{%- endfor %}
"""

GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
"""

QWEN3 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

DEEPSEEK = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + eos_token}}{%- endif %}{%- endfor -%}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|><think>\\n'}}{% endif %}"""

PHI = """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{% generation %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"""

FAMILIES = dict(
    chatml=CHATML, chatml_system=CHATML_SYSTEM, llama3=LLAMA3, llama31=LLAMA31, bitnet=BITNET, llama2=LLAMA2,
    mistral=MISTRAL, gemma=GEMMA, qwen3=QWEN3, deepseek=DEEPSEEK, phi=PHI,
)

# One thing each.
SMALL = r"""
{{ 1 + 2 * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2.5 + 1 }} {{ 4.0 }}
{{ 'a' ~ 1 ~ none ~ true ~ 2.0 ~ [1, 'b', "it's"] ~ {'k': none} }}
{{ 1 < 2 and 2 <= 2 and 3 > 2 and not 1 >= 2 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ 'a' != 'b' }} {{ true == 1 }}
{{ 'x' in 'xyz' }} {{ 'q' not in 'xyz' }} {{ 3 in [1, 2, 3] }} {{ 'k' in {'k': 1} }} {{ 'role' in messages[0] }}
{{ nothing }}|{{ nothing is defined }}|{{ nothing is undefined }}|{{ nothing is none }}|{{ not nothing }}|{{ nothing == 1 }}
{{ nothing.deeper }}
{{ nothing + 'x' }}
{{ messages[0].nothing.deeper }}
{{ messages[0]['nothing'] is defined }} {{ messages[99] is defined }} {{ messages[-1].role }} {{ messages[0].get('role') }} {{ messages[0].get('x', 'y') }} {{ messages[0].get('x') }}
{{ '  x '|trim }}|{{ '  x '.strip() }}|{{ ' xx '.lstrip() }}|{{ ' xx '.rstrip() }}|{{ 'xxyxx'.strip('x') }}|{{ 'abcba'|trim('ab') }}
{{ 'Hello World'|upper }} {{ 'HELLO'|lower }} {{ 'hello WORLD'|capitalize }} {{ 'hello world'|title }} {{ 'a b'.title() }} {{ 'x'.upper() }}
{{ [1, 2, 3]|length }} {{ 'äöü'|length }} {{ {}|length }} {{ 'äöü'[1] }} {{ 'äöü'[::-1] }} {{ [1,2,3]|first }} {{ [1,2,3]|last }} {{ [3,1]|list }}
{{ nothing|default('d') }} {{ ''|default('d') }} {{ ''|default('d', true) }} {{ none|default('d') }} {{ nothing|d('x') }}|{{ nothing|default }}|
{{ [1, 'a', none]|join('-') }} {{ ['x', 'y']|join }} {{ messages|map(attribute='role')|join(',') }} {{ '-'.join(['a', 'b']) }}
{{ messages|tojson }}
{{ messages|tojson(indent=2) }}
{{ {'a': [], 'b': {}, 'c': 1.5, 'd': "q\"\\\n\u00e9\x7f<&>'"}|tojson }} {{ 'é'|tojson }} {{ none|tojson }} {{ true|tojson }} {{ 10000000000000000.0|tojson }} {{ 0.00001|tojson }} {{ 123456.0 }}
{{ [1,2,3,4,5][1:3] }} {{ [1,2,3,4,5][::2] }} {{ [1,2,3,4,5][::-1] }} {{ [1,2,3,4,5][-2:] }} {{ [1,2,3][5:] }} {{ [1,2,3][:-5] }} {{ 'abcdef'[-3:-1] }} {{ 'abc'[2:0:-1] }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a  b c'.split(none, 1) }} {{ 'abc'.split('x') }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'aXbX'.replace('X', '--') }} {{ 'aXbX'|replace('X', '') }}
{% for i in range(3) %}{{ i }}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}{{ range(1, 10, 3)|list }} {{ range(5, 0, -2)|list }}
{% for i in [] %}x{% else %}empty{% endfor %} {% for i in [1,2,3,4] if i is even %}{{ i }}{{ loop.index }}{{ loop.last }}{% else %}no{% endfor %} {% for i in nothing %}x{% endfor %}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}{% for k in {'a': 1} %}{{ k }}{% endfor %}{% for c in 'añ' %}<{{ c }}>{% endfor %}
{% for a in [1,2] %}{% for b in [3,4] %}{{ a }}{{ b }}{{ loop.depth }}{% endfor %}{{ loop.index }}{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% elif i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }} {% if true %}{% set x = 9 %}{% endif %}{{ x }}
{% set ns = namespace(a=1, b='t') %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}
{% set block %}  <{{ 1 + 1 }}>  {% endset %}[{{ block }}]{{ block|trim }}
{{ 'yes' if 1 else 'no' }} {{ 'yes' if 0 }}| {{ ('a' if false else 'b' if false else 'c') }}
{{ 1 is number }} {{ 'a' is string }} {{ [] is iterable }} {{ {} is mapping }} {{ [] is sequence }} {{ 'a' is sequence }} {{ 3 is odd }} {{ 4 is divisibleby 2 }} {{ 4 is divisibleby(3) }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 1 is integer }} {{ true is boolean }} {{ 1.5 is float }} {{ 2 is eq 2 }} {{ 2 is equalto 3 }} {{ 'a' is in ['a'] }} {{ 'a' is not none }}
{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'eq', 'user')|map(attribute='role')|list }} {{ [0, 1, '']|select|list }} {{ [1,2,3]|reject('odd')|list }} {{ ['a','b']|map('upper')|join }} {{ [1,2]|reverse|list }}
{{ raise_exception('no: ' ~ messages[0].role) }}
{{ dict(a=1, b='c') }} {{ {'a': {'b': [1]}}.a.b[0] }} {{ 'a' 'b' }} {{ "tab\tq\"\x41\u00e9" }} {{ 'a\'b' }} {{ '\\n' }} {{ '\d' }}
{{ '5'|int + 1 }} {{ 'x'|int }} {{ 3.9|int }} {{ '2.5'|float }} {{ 5|string + 'x' }} {{ -3|abs }} {{ - 3 }} {{ not true }} {{ (1, 2)|join }} {{ [1] + [2] }} {{ 'ab' * 3 }} {{ [0] * 2 }}
{# comment #}a{#- comment -#} b {#- c #} d
a {%- if true -%} b {%- endif -%} c {{- ' d ' -}} e {%+ if true +%} f {%+ endif %} g
  {% if true %}
    indented
  {% endif %}
  {{ 'kept' }}
 {%+ if true %} plus {% endif %}
text {% if true %}
same line {% endif %}
end
{{ messages[0].items()|list|length }} {{ messages[0].keys()|list }} {{ messages[0]|items|list|length }} {{ {'b': 1}.values()|list }}
{{ 1 if messages else 2 }}{{ 'é' < 'f' }}{{ none == false }}{{ none is none }}{{ [] == [] }}{{ {'a': 1} == {'a': 1} }}{{ [1, [2]] == [1, [2]] }}
{{ 'a' + 1 }}
{{ messages + 1 }}
{{ [1,2] < 3 }}
{{ 1 // 0 }}
{{ 'a' | nofilter }}
{{ 'a' is notest }}
{{ unknown_function(1) }}
{{ messages.pop() }}
{% if %}{% endif %}
{% for x in y %}
{{ 'unclosed }}
{{ (1 }}
{% endif %}
{% unknown %}
{{ 1 +
"""


def small_templates():
    lines = SMALL.strip("\n").split("\n")
    yield from lines
    for size in (2, 3, 5):
        for i in range(0, len(lines) - size):
            yield "\n".join(lines[i : i + size])


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": 'The "weather" of a place\nnow, in °C <b>&',
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
            "return": "x",
        },
    },
    {"type": "function", "function": {"name": "code", "parameters": {}, "strict": False}},
]


def conversations(rng):
    def text():
        return rng.choice(
            ["Hi", "  padded \n", "", "multi\nline\n\n", "größe 世界 🙂", "<|im_end|>", "\u00a0nbsp\u2003", "a\x1cb\x1c",
             "<think>\nhm\n</think>\n\nso", "{{ not a template }}", "\"quoted\" 'text' \\"]
        )

    call = {"type": "function", "function": {"name": "code", "arguments": {"city": "Köln", "q": "a\"b"}}}
    for n in (1, 2, 3, 4, 5, 6):
        for system in (False, True):
            messages = [{"role": "system", "content": text()}] if system else []
            for i in range(n):
                messages.append({"role": ("user", "assistant")[i % 2], "content": text()})
            yield messages
    yield [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    yield [{"role": "assistant", "content": "a"}]
    yield [{"role": "system", "content": "only"}]
    yield [{"role": "narrator", "content": "x"}, {"role": "user", "content": "y"}]
    yield [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "12"},
        {"role": "tool", "content": {"content": 13}},
        {"role": "assistant", "content": "12 degrees", "reasoning_content": "\nfound\n"},
    ]
    yield [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [call, call]}]
    yield [
        {"role": "system", "content": [{"type": "text", "text": "parts "}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " what? "}]},
    ]


class Ours:
    def __init__(self):
        self.process = subprocess.Popen([ANSWERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"chat_answers ended at {question}")
        return json.loads(answer)


def theirs(question):
    try:
        template = _compile_jinja_template(question["template"])
        tokens = {k: question[k] for k in ("bos_token", "eos_token") if k in question}
        return {
            "text": template.render(
                messages=question["messages"], tools=question.get("tools"), documents=None,
                add_generation_prompt=question["add_generation_prompt"], **tokens, **question.get("more", {}),
            )
        }
    except Exception as e:  # whatever the template runs into
        return {"error": f"{type(e).__name__}: {e}"}


def main():
    if not ANSWERS.exists():
        print("skipped: build //tests/conformance:chat_answers first")
        return 77
    print(f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}")
    rng, ours, wrong, same, refused = random.Random(3), Ours(), 0, 0, 0
    chats = [c for _ in range(5) for c in conversations(rng)]
    questions = [
        {"template": source, "messages": messages, "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>", **extra}
        for source in FAMILIES.values()
        for messages in chats
        for prompt in (False, True)
        for extra in ({}, {"tools": TOOLS}, {"tools": TOOLS, "more": {"tools_in_user_message": False, "builtin_tools": ["code", "x"], "enable_thinking": False}})
    ]
    small = list(small_templates())
    questions += [
        {"template": source, "messages": chats[1], "add_generation_prompt": False, "bos_token": "<s>"} for source in small
    ]
    for question in questions:
        a, b = ours.ask(question), theirs(question)
        if "error" in b and "error" in a:
            refused += 1
        elif a == b:
            same += 1
        else:
            wrong += 1
            if wrong <= 12:
                print("template:", question["template"][:300])
                print("messages:", str(question["messages"])[:200])
                print("  ours:  ", str(a)[:600])
                print("  theirs:", str(b)[:600])
    print(f"{len(questions)} renderings: {same} equal, {refused} refused by both, {wrong} differ")
    return 0 if wrong == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
