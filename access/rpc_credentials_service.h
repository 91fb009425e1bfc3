// Server credentials of gRPC from files that may change.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "access/tls_files.h"

namespace tritter {

// Without a certificate: no TLS. With an authority every client must show a certificate that it
// signs. Files are looked at every second: connections that are made after a change get the new
// ones. CheckTlsFiles first.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files);

}  // namespace tritter
