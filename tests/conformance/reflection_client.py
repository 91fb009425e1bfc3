#!/usr/bin/env python3
"""A client that knows nothing of our protocols but what PyPI's grpcio-reflection tells it.

Lists the services, builds the messages of each from the server's descriptors alone, calls
tritter.v1.InferenceService/Generate and inference.GRPCInferenceService/ServerReady with them, and
asks grpc.health.v1 for every service.

Needs the packages of tests/conformance/README.md; without them it says so and ends with 77.
"""
import argparse

from served_model import SKIPPED, ServedModel, check, finish

try:
    import grpc
    from google.protobuf import descriptor_pool, message_factory
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
except ImportError as error:
    print(f"skipped: {error} (tests/conformance/README.md names the packages)")
    raise SystemExit(SKIPPED)

SERVICES = ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "inference.GRPCInferenceService",
            "tritter.v1.InferenceService"]


def main():
    arguments = ServedModel.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    print(f"grpcio {grpc.__version__}")
    with ServedModel(arguments) as server, grpc.insecure_channel(server.grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        names = sorted(database.get_services())
        check(names == SERVICES, f"services: {', '.join(names)}")

        def message(name, **fields):
            return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))(**fields)

        def method(service, name):
            found = pool.FindServiceByName(service).FindMethodByName(name)
            make = channel.unary_stream if found.server_streaming else channel.unary_unary
            return make(f"/{service}/{name}", request_serializer=lambda m: m.SerializeToString(),
                        response_deserializer=message_factory.GetMessageClass(found.output_type).FromString)

        for service in SERVICES[2:]:
            methods = [m.name for m in pool.FindServiceByName(service).methods]
            check(len(methods) >= 4, f"{service}: {', '.join(methods)}")
        generate = method("tritter.v1.InferenceService", "Generate")
        parts = list(generate(message("tritter.v1.GenerateRequest", text="To be", max_tokens=20, ignore_eos=True)))
        check(sum(len(p.token_ids) for p in parts) == 20 and parts[-1].usage.prompt_tokens == 6,
              f"Generate: {''.join(p.text for p in parts)!r}")
        ready = method("inference.GRPCInferenceService", "ServerReady")(message("inference.ServerReadyRequest"))
        check(ready.ready, "ServerReady")
        # The gRPC library of the server lists health, but has no descriptor of it: HealthCheckRequest
        # {service = 1}, HealthCheckResponse {status = 1}, SERVING = 1.
        check_health = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=lambda name: b"\n" + bytes([len(name)]) + name.encode(),
            response_deserializer=lambda answer: answer == b"\x08\x01")
        for service in [""] + SERVICES[2:]:
            check(check_health(service), f"health of {service!r}: serving")
        try:
            check_health("none")
            check(False, "health of an unknown service: NOT_FOUND")
        except grpc.RpcError as error:
            check(error.code() == grpc.StatusCode.NOT_FOUND, f"health of an unknown service: {error.code()}")
    finish()


if __name__ == "__main__":
    main()
