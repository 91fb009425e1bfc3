#!/usr/bin/env python3
"""PyPI's openai client against our HTTP API.

Models, completions whole and streamed, several choices and prompts, log-probabilities, usage, stop
strings, embeddings, JSON of a schema, seeds, cancelled streams, and the exceptions that the client makes of our errors.

Needs the packages of tests/conformance/README.md; without them it says so and ends with 77.
"""
import argparse
import concurrent.futures
import json
import time
import urllib.request

from served_model import SKIPPED, ServedModel, check, finish

try:
    import openai
except ImportError as error:
    print(f"skipped: {error} (tests/conformance/README.md names the packages)")
    raise SystemExit(SKIPPED)

LONG = {"max_tokens": 40, "extra_body": {"ignore_eos": True}}


def models(client):
    print("models:")
    names = [m.id for m in client.models.list()]
    check(names == ["chat", "m"], f"list: {names}")
    check(client.models.retrieve("m").owned_by == "tritter", "retrieve")
    try:
        client.models.retrieve("other")
        check(False, "an unknown model is NotFoundError")
    except openai.NotFoundError as error:
        check(error.code == "model_not_found", f"an unknown model is NotFoundError: {error.message}")


def completions(client):
    print("completions:")
    whole = client.completions.create(model="m", prompt="To be", seed=5, **LONG)
    check(whole.usage.completion_tokens == 40 and whole.usage.prompt_tokens == 6, f"usage: {whole.usage}")
    check(whole.choices[0].finish_reason == "length" and whole.choices[0].text, "text and reason")
    again = client.completions.create(model="m", prompt="To be", seed=5, **LONG)
    check(again.choices[0].text == whole.choices[0].text, "the same seed gives the same text")
    other = client.completions.create(model="m", prompt="To be", **LONG)
    check(other.choices[0].text != whole.choices[0].text, "no seed gives another")
    ids = client.completions.create(model="m", prompt=[1] + [8 + b for b in b"To be"], seed=5, **LONG)
    check(ids.choices[0].text == whole.choices[0].text, "a prompt of token ids")
    text, reason, usage = "", None, None
    for chunk in client.completions.create(model="m", prompt="To be", seed=5, stream=True,
                                           stream_options={"include_usage": True}, **LONG):
        if chunk.choices:
            text += chunk.choices[0].text
            reason = chunk.choices[0].finish_reason or reason
        usage = chunk.usage or usage
    check(text == whole.choices[0].text and reason == "length", "the stream has the same text")
    check(usage is not None and usage.completion_tokens == 40, "usage at the end of the stream")
    several = client.completions.create(model="m", prompt=["a", "b"], n=2, seed=1, **LONG)
    check([c.index for c in several.choices] == [0, 1, 2, 3], "two prompts, two choices each")
    check(len({c.text for c in several.choices}) == 4, "all of them different")
    stop = whole.choices[0].text[10:12]
    ended = client.completions.create(model="m", prompt="To be", seed=5, stop=[stop], **LONG)
    check(ended.choices[0].finish_reason == "stop" and stop not in ended.choices[0].text
          and whole.choices[0].text.startswith(ended.choices[0].text), "a stop string ends the text before it")
    scored = client.completions.create(model="m", prompt="x", temperature=0, logprobs=3, **LONG).choices[0].logprobs
    check(len(scored.tokens) == len(scored.token_logprobs) == len(scored.top_logprobs) == 40
          and all(len(t) == 3 for t in scored.top_logprobs), "log-probabilities of every token")
    check(all(abs(max(t.values()) - p) < 1e-9 for t, p in zip(scored.top_logprobs, scored.token_logprobs)),
          "the greedy token is the most likely one")
    biased = client.completions.create(model="m", prompt="x", logit_bias={str(8 + ord("z")): 100}, max_tokens=5)
    check(biased.choices[0].text == "zzzzz", f"logit bias: {biased.choices[0].text!r}")


def embeddings(client):
    print("embeddings:")
    made = client.embeddings.create(model="m", input=["To be", "x"])
    plain = client.embeddings.create(model="m", input="To be", encoding_format="float")
    check(len(made.data) == 2 and made.usage.prompt_tokens == 8, f"two texts, {made.usage.prompt_tokens} tokens")
    check(max(abs(a - b) for a, b in zip(made.data[0].embedding, plain.data[0].embedding)) < 1e-7,
          "base64 and numbers are the same vector")
    check(abs(sum(v * v for v in plain.data[0].embedding) - 1) < 1e-5, "of length 1")


def constrained(client):
    print("constrained text:")
    schema = {"type": "object", "properties": {"a": {"const": 17}}, "required": ["a"], "additionalProperties": False}
    answer = client.completions.create(
        model="m", prompt="x", max_tokens=100, logit_bias={str(8 + b): -100 for b in b" \n\t\r"},
        extra_body={"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}})
    check(json.loads(answer.choices[0].text) == {"a": 17}, f"JSON of a schema: {answer.choices[0].text!r}")


def errors(client):
    print("errors:")
    for what, kind, code, arguments in [
            ("unknown model", openai.NotFoundError, "model_not_found", {"model": "other"}),
            ("context", openai.BadRequestError, "context_length_exceeded", {"max_tokens": 10**6}),
            ("temperature", openai.BadRequestError, None, {"temperature": 3}),
            ("unknown parameter", openai.BadRequestError, "unknown_parameter", {"extra_body": {"wat": 1}}),
            ("echo", openai.BadRequestError, "unsupported_parameter", {"echo": True})]:
        try:
            client.completions.create(**{"model": "m", "prompt": "x", **arguments})
            check(False, f"{what}: {kind.__name__}")
        except kind as error:
            check(error.code == code, f"{what}: {kind.__name__}, {error.code}: {error.message}")
    try:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        check(False, "a chat with a model without a template: BadRequestError")
    except openai.BadRequestError as error:
        check(error.code == "no_chat_template", f"a chat with a model without a template: {error.code}")


def chats(client):
    print("chats:")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    more = {"model": "chat", "seed": 5, "max_completion_tokens": 20, "extra_body": {"ignore_eos": True}}
    whole = client.chat.completions.create(messages=messages, **more)
    text = whole.choices[0].message.content
    check(whole.choices[0].message.role == "assistant" and whole.usage.completion_tokens == 20, f"whole: {text!r}")
    rendered = "system: Be brief.\nuser: Who?\nassistant:"
    ids = [8 + byte for byte in rendered.encode()]  # of the byte tokenizer; a text would get a bos before it
    plain = client.completions.create(model="chat", prompt=ids, seed=5, **{**LONG, "max_tokens": 20})
    check(plain.choices[0].text == text, "the same as the completion of what the template renders")
    parts = [c.choices[0].delta.content or "" for c in
             client.chat.completions.create(messages=messages, stream=True, **more)]
    check("".join(parts) == text and len(parts) > 2, f"streamed in {len(parts)} parts")
    scored = client.chat.completions.create(messages=messages, logprobs=True, top_logprobs=2, **more)
    check(len(scored.choices[0].logprobs.content) == 20 and
          len(scored.choices[0].logprobs.content[0].top_logprobs) == 2, "log-probabilities")


def metric(server, name):
    text = urllib.request.urlopen(f"http://{server.http}/metrics").read().decode()
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def concurrency(client, server):
    print("many at a time:")
    expected = client.completions.create(model="m", prompt="x", seed=9, **LONG).choices[0].text
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(
            lambda _: client.completions.create(model="m", prompt="x", seed=9, **LONG).choices[0].text, range(48)))
    check(texts == [expected] * 48, "48 requests from 16 threads have the text of one alone")
    before = metric(server, 'tritter_requests_total{outcome="cancelled"}')
    for _ in range(5):
        stream = client.completions.create(model="m", prompt="x", stream=True, max_tokens=200,
                                           extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
    deadline = time.monotonic() + 20
    while metric(server, "tritter_requests_running") > 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    cancelled = metric(server, 'tritter_requests_total{outcome="cancelled"}') - before
    check(metric(server, "tritter_requests_running") == 0 and metric(server, "tritter_requests_waiting") == 0,
          f"closed streams leave nothing running ({cancelled:.0f} of 5 were cancelled on the way)")


def main():
    arguments = ServedModel.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    print(f"openai {openai.__version__}")
    with ServedModel(arguments, chat=True) as server:
        with openai.OpenAI(base_url=f"http://{server.http}/v1", api_key="none", max_retries=0) as client:
            models(client)
            completions(client)
            chats(client)
            embeddings(client)
            constrained(client)
            errors(client)
            concurrency(client, server)
    finish()


if __name__ == "__main__":
    main()
