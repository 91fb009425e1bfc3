#include "tests/testing/server_surface.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/net.h"
#include "monitoring/catalogue.h"

namespace tritter {
namespace {

using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

// Debian ships no generated code for the messages of health and reflection; they are few and small
// enough to be written and read by field number.
std::string Bytes(const UnknownFieldSet& message) {
  std::string bytes;
  message.SerializeToString(&bytes);
  return bytes;
}

// Sub-messages or strings of a field.
std::vector<std::string> Field(const std::string& message, int number) {
  UnknownFieldSet fields;
  EXPECT_TRUE(fields.ParseFromString(message));
  std::vector<std::string> found;
  for (int i = 0; i < fields.field_count(); ++i) {
    const UnknownField& f = fields.field(i);
    if (f.number() == number && f.type() == UnknownField::TYPE_LENGTH_DELIMITED)
      found.push_back(f.length_delimited());
  }
  return found;
}

// One request, the first response of the stream (a unary call is a stream of one).
grpc::Status Call(const std::string& address, const std::string& method, const std::string& request,
                  std::string* response) {
  grpc::GenericStub stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  grpc::CompletionQueue queue;
  const auto wait = [&queue] {
    void* tag;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call =
      stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  if (wait()) {
    const grpc::Slice slice(request);
    grpc::ByteBuffer buffer(&slice, 1);
    call->WriteLast(buffer, grpc::WriteOptions(), nullptr);
    wait();
    call->Read(&buffer, nullptr);
    if (wait()) {
      std::vector<grpc::Slice> parts;
      EXPECT_TRUE(buffer.Dump(&parts).ok());
      for (const grpc::Slice& part : parts)
        response->append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return status;
}

// grpc.health.v1: HealthCheckRequest{service = 1}, HealthCheckResponse{status = 1}, SERVING = 1.
void ExpectServing(const ServerSurface& server, const std::string& service) {
  UnknownFieldSet request, answer;
  request.AddLengthDelimited(1, service);
  std::string bytes;
  const grpc::Status status =
      Call(server.address, "/grpc.health.v1.Health/Check", Bytes(request), &bytes);
  ASSERT_TRUE(status.ok()) << server.component << ", health of \"" << service
                           << "\": " << status.error_message();
  ASSERT_TRUE(answer.ParseFromString(bytes));
  ASSERT_EQ(answer.field_count(), 1) << server.component << " \"" << service << "\"";
  EXPECT_EQ(answer.field(0).varint(), 1u) << server.component << " \"" << service << "\"";
}

// grpc.reflection.v1alpha: ServerReflectionRequest{list_services = 7}, ServerReflectionResponse{
// list_services_response = 6 {service = 1 {name = 1}}}.
void ExpectReflection(const ServerSurface& server) {
  UnknownFieldSet request;
  request.AddLengthDelimited(7, "*");
  std::string bytes;
  const grpc::Status status =
      Call(server.address, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
           Bytes(request), &bytes);
  ASSERT_TRUE(status.ok()) << server.component << ": " << status.error_message();
  std::vector<std::string> names;
  for (const std::string& list : Field(bytes, 6))
    for (const std::string& service : Field(list, 1))
      for (const std::string& name : Field(service, 1)) names.push_back(name);
  std::vector<std::string> expected = server.services;
  expected.push_back("grpc.health.v1.Health");
  expected.push_back("grpc.reflection.v1alpha.ServerReflection");
  EXPECT_THAT(names, testing::UnorderedElementsAreArray(expected)) << server.component;
}

bool NeedsWork(const MetricInfo& metric) {
  for (const std::string& label : metric.labels) {
    if (label == "run" || label == "state" || label == "source" || label == "reason") return true;
  }
  return false;
}

void ExpectMetrics(const ServerSurface& server) {
  int status = 0;
  const std::string text = HttpGet(server.metrics_address, "/metrics", &status);
  EXPECT_EQ(status, 200) << server.component;
  int looked_for = 0;
  for (const MetricInfo& metric : Catalogue()) {
    if (metric.servers != "all" && metric.servers != server.component) continue;
    if (NeedsWork(metric)) continue;
    ++looked_for;
    EXPECT_TRUE(absl::StrContains(
        text, absl::StrCat("# TYPE ", metric.name, " ", MetricTypeName(metric.type), "\n")))
        << server.component << " does not export " << metric.name;
  }
  EXPECT_GT(looked_for, 4) << server.component;
}

}  // namespace

std::string HttpGet(const std::string& address, const std::string& path, int* status) {
  const absl::StatusOr<HostPort> at = ParseHostPort(address);
  if (!at.ok()) {
    ADD_FAILURE() << at.status();
    return "";
  }
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(at->port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0) << address;
  const std::string request = absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) answer.append(buffer, n);
  close(fd);
  *status = answer.size() > 12 ? std::atoi(answer.c_str() + 9) : 0;  // HTTP/1.1 200 OK
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

void ExpectServerSurface(const ServerSurface& server) {
  ExpectServing(server, "");
  for (const std::string& service : server.services) ExpectServing(server, service);
  ExpectReflection(server);
  int status = 0;
  EXPECT_EQ(HttpGet(server.metrics_address, "/healthz", &status), "ok\n") << server.component;
  EXPECT_EQ(status, 200) << server.component;
  ExpectMetrics(server);
}

}  // namespace tritter
