"""tritter_protos(): C++ messages and gRPC stubs by Debian's protoc and grpc_cpp_plugin.

Two libraries, because domain code may know messages but never gRPC:
  NAME_proto  *.pb.h       NAME_grpc  *.grpc.pb.h (and the messages)
A name of their own spares everybody else a rebuild when they change.
"""

def tritter_protos(srcs, services, name = "tritter"):
    bases = [s[:-len(".proto")] for s in srcs]
    grpc_bases = [s[:-len(".proto")] for s in services]
    pb = [b + ".pb" + e for b in bases for e in [".h", ".cc"]]
    stubs = [b + ".grpc.pb" + e for b in grpc_bases for e in [".h", ".cc"]]
    native.genrule(
        name = name + "_messages",
        srcs = srcs,
        outs = pb,
        cmd = "/usr/bin/protoc -Iproto --cpp_out=$(RULEDIR) $(SRCS)",
    )
    native.genrule(
        name = name + "_stubs",
        srcs = srcs,
        outs = stubs,
        cmd = "/usr/bin/protoc -Iproto --grpc_out=$(RULEDIR) " +
              "--plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin " +
              " ".join(["$(location %s)" % s for s in services]),
    )
    native.cc_library(
        name = name + "_proto",
        srcs = [f for f in pb if f.endswith(".cc")],
        hdrs = [f for f in pb if f.endswith(".h")],
        includes = ["."],
        copts = ["-w"],
        visibility = ["//:__subpackages__"],
        deps = ["//third_party/system:protobuf"],
    )
    native.cc_library(
        name = name + "_grpc",
        srcs = [f for f in stubs if f.endswith(".cc")],
        hdrs = [f for f in stubs if f.endswith(".h")],
        includes = ["."],
        copts = ["-w"],
        visibility = ["//:__subpackages__"],
        deps = [":" + name + "_proto", "//third_party/system:grpc"],
    )
