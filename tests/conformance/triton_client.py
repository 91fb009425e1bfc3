#!/usr/bin/env python3
"""PyPI's tritonclient[grpc] against our Open Inference Protocol v2.

Health and metadata, ModelInfer of one text and of a batch, decoupled streams, the repository calls,
time limits, and the exceptions that the client makes of our errors.

Needs the packages of tests/conformance/README.md; without them it says so and ends with 77.
"""
import argparse
import queue

from served_model import SKIPPED, ServedModel, check, finish

try:
    import numpy
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException
except ImportError as error:
    print(f"skipped: {error} (tests/conformance/README.md names the packages)")
    raise SystemExit(SKIPPED)

GREEDY = {"max_tokens": 30, "ignore_eos": True}


def texts(*values):
    given = triton.InferInput("text_input", [len(values)], "BYTES")
    given.set_data_from_numpy(numpy.array([v.encode() for v in values], dtype=object))
    return [given]


def raises(what, code, call):
    try:
        call()
        check(False, f"{what}: no exception")
    except InferenceServerException as error:
        check(code in str(error.status()), f"{what}: {error.status()}, {error.message()}")


def metadata(client):
    print("health and metadata:")
    check(client.is_server_live() and client.is_server_ready(), "live and ready")
    check(client.is_model_ready("m") and not client.is_model_ready("other"), "models")
    check(client.is_model_ready("m", "1") and not client.is_model_ready("m", "7"), "versions")
    server = client.get_server_metadata()
    check(server.name == "tritter" and "model_repository" in server.extensions, f"server: {server.name}")
    model = client.get_model_metadata("m", as_json=True)
    check(model["inputs"] == [{"name": "text_input", "datatype": "BYTES", "shape": ["-1"]}], f"inputs: {model['inputs']}")
    raises("metadata of an unknown model", "NOT_FOUND", lambda: client.get_model_metadata("other"))


def infer(client):
    print("infer:")
    one = client.infer("m", texts("To be"), parameters=GREEDY, request_id="7")
    text = one.as_numpy("text_output")[0]
    check(one.get_response().id == "7" and one.get_response().model_version == "1", "id and version")
    check(one.as_numpy("finish_reason").tolist() == [b"length"] and one.as_numpy("generated_tokens").tolist() == [30]
          and one.as_numpy("prompt_tokens").tolist() == [6], "finish_reason, generated_tokens, prompt_tokens")
    batch = client.infer("m", texts("x", "To be"), parameters=GREEDY,
                         outputs=[triton.InferRequestedOutput("text_output")])
    check(batch.as_numpy("text_output")[1] == text and batch.as_numpy("finish_reason") is None,
          "a batch, one output")
    seeded = [client.infer("m", texts("x"), parameters={**GREEDY, "temperature": 1.5, "seed": s}).as_numpy(
        "text_output")[0] for s in (1, 1, 2)]
    check(seeded[0] == seeded[1] != seeded[2], "seeds")
    raises("unknown model", "NOT_FOUND", lambda: client.infer("other", texts("x")))
    raises("unknown parameter", "INVALID_ARGUMENT", lambda: client.infer("m", texts("x"), parameters={"wat": 1}))
    raises("context", "OUT_OF_RANGE", lambda: client.infer("m", texts("x"), parameters={"max_tokens": 10**6}))
    wrong = triton.InferInput("text_input", [1], "INT64")
    wrong.set_data_from_numpy(numpy.array([1]))
    raises("wrong type", "INVALID_ARGUMENT", lambda: client.infer("m", [wrong]))
    raises("deadline", "DEADLINE_EXCEEDED", lambda: client.infer("m", texts("x"), client_timeout=1e-4))
    return text


def stream(client, whole):
    print("streams:")
    parts = queue.Queue()
    client.start_stream(lambda result, error: parts.put((result, error)))
    for i in range(3):
        client.async_stream_infer("m", texts("To be"), parameters=GREEDY, request_id=str(i),
                                  enable_empty_final_response=True)
        text, count, last = b"", 0, False
        while not last:
            result, error = parts.get(timeout=30)
            if error is not None:
                check(False, f"stream: {error}")
                break
            response = result.get_response()
            text += result.as_numpy("text_output")[0]
            count += 1
            last = response.parameters["triton_final_response"].bool_param
        check(text == whole and response.id == str(i), f"the same text in {count} parts")
    client.async_stream_infer("m", texts("x"), parameters={"wat": 1})
    result, error = parts.get(timeout=30)
    check(result is None and "wat" in str(error), f"an error comes to the callback: {error}")
    client.async_stream_infer("m", texts("x"), parameters={"max_tokens": 200, "ignore_eos": True})
    parts.get(timeout=30)
    client.stop_stream(cancel_requests=True)
    check(client.infer("m", texts("To be"), parameters=GREEDY).as_numpy("text_output")[0] == whole,
          "a cancelled stream leaves the others as they were")


def repository(client, whole):
    print("repository:")

    def index():
        return {m.name: (m.version, m.state) for m in client.get_model_repository_index().models}
    check(index() == {"m": ("1", "READY"), "second": ("", "UNAVAILABLE")}, f"index: {index()}")
    client.load_model("second")
    other = client.infer("second", texts("To be"), parameters=GREEDY).as_numpy("text_output")[0]
    check(other != whole and index()["second"] == ("1", "READY"), "load and infer")
    client.load_model("second")
    check(index()["second"] == ("2", "READY"), "load again: a new version")
    check(client.infer("second", texts("To be"), parameters=GREEDY).as_numpy("text_output")[0] == other, "of the same text")
    client.unload_model("second")
    check(index()["second"] == ("2", "UNAVAILABLE") and not client.is_model_ready("second"), "unload")
    raises("infer after it", "NOT_FOUND", lambda: client.infer("second", texts("x")))
    raises("load of a model that is not there", "NOT_FOUND", lambda: client.load_model("third"))
    raises("load outside the root", "INVALID_ARGUMENT", lambda: client.load_model("../m"))
    raises("load with a configuration", "INVALID_ARGUMENT", lambda: client.load_model("second", config="{}"))


def main():
    arguments = ServedModel.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    print("tritonclient.grpc")
    with ServedModel(arguments) as server:
        with triton.InferenceServerClient(server.grpc) as client:
            metadata(client)
            whole = infer(client)
            stream(client, whole)
            repository(client, whole)
    finish()


if __name__ == "__main__":
    main()
