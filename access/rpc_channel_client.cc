#include "access/rpc_channel_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/support/client_interceptor.h>

#include <utility>
#include <vector>

namespace tritter {
namespace {

constexpr unsigned kLookEverySeconds = 1;

class AddToken final : public grpc::experimental::Interceptor {
 public:
  explicit AddToken(BearerToken* token) : token_(token) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      const std::string authorization = token_->Authorization();
      if (!authorization.empty())
        methods->GetSendInitialMetadata()->emplace("authorization", authorization);
    }
    methods->Proceed();
  }

 private:
  BearerToken* const token_;
};

class AddTokenFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  AddTokenFactory(Env* env, Clock* clock, const ClientSecurity& security)
      : token_(env, clock, security) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new AddToken(&token_);
  }

 private:
  BearerToken token_;
};

std::shared_ptr<grpc::ChannelCredentials> Credentials(const ClientSecurity& s) {
  if (!s.tls()) return grpc::InsecureChannelCredentials();
  const std::string authority = s.tls_authority == kSystemAuthorities ? "" : s.tls_authority;
  grpc::experimental::TlsChannelCredentialsOptions options;
  if (!authority.empty() || !s.tls_certificate.empty()) {
    options.set_certificate_provider(
        std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
            s.tls_key, s.tls_certificate, authority, kLookEverySeconds));
  }
  if (!authority.empty()) options.watch_root_certs();
  if (!s.tls_certificate.empty()) options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeRpcChannel(const std::string& address,
                                              const ClientSecurity& security,
                                              grpc::ChannelArguments arguments, Env* env,
                                              Clock* clock) {
  if (!security.tls_server_name.empty())
    arguments.SetSslTargetNameOverride(security.tls_server_name);
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!security.token.empty() || !security.token_file.empty())
    interceptors.push_back(std::make_unique<AddTokenFactory>(env, clock, security));
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      address, Credentials(security), arguments, std::move(interceptors));
}

}  // namespace tritter
