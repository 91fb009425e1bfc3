// What every server shows beside its own services: gRPC health and reflection, /metrics, /healthz.
#pragma once

#include <string>
#include <vector>

namespace tritter {

struct ServerSurface {
  std::string component;              // as in the metric catalogue: coordinator, worker, inference
  std::string address;                // gRPC, host:port
  std::string metrics_address;        // HTTP, host:port
  std::vector<std::string> services;  // full names of its own services
};

// The body of an HTTP answer; `status` is its code. Fails the test when nothing answers.
std::string HttpGet(const std::string& address, const std::string& path, int* status);

// Test failures unless health is SERVING for the server and for each service, reflection lists the
// services with those of health and reflection, /healthz answers 200, and /metrics holds every
// metric of the catalogue for the component. A server that has done nothing yet has no series
// labelled with a run, state, source or reason: those are not looked for.
void ExpectServerSurface(const ServerSurface& server);

}  // namespace tritter
