#include "access/tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using X509Ptr = std::unique_ptr<X509, Freed<&X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<&EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freed<&BIO_free>>;

BioPtr Text(const std::string& pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// Keys that are locked are not opened: nobody is there to type the password.
int NoPassword(char*, int, int, void*) { return 0; }

absl::StatusOr<X509Ptr> FirstCertificate(const std::string& path, const std::string& pem) {
  const BioPtr text = Text(pem);
  X509Ptr certificate(PEM_read_bio_X509(text.get(), nullptr, &NoPassword, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a certificate in PEM, \"-----BEGIN CERTIFICATE-----\""));
  }
  return certificate;
}

std::string DateOf(const ASN1_TIME* time) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(out.get(), time);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::Status CheckValidity(const std::string& path, X509* certificate, absl::Time now) {
  time_t seconds = absl::ToTimeT(now);
  if (X509_cmp_time(X509_get0_notAfter(certificate), &seconds) < 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the certificate has ended on ",
                                                   DateOf(X509_get0_notAfter(certificate)),
                                                   "; put a new one there"));
  }
  if (X509_cmp_time(X509_get0_notBefore(certificate), &seconds) > 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the certificate begins only on ",
                                                   DateOf(X509_get0_notBefore(certificate)),
                                                   "; is the clock of this machine right?"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTlsFiles(Env* env, const TlsFiles& files, absl::Time now) {
  if (!files.certificate.empty()) {
    ASSIGN_OR_RETURN(const std::string pem, env->ReadFile(files.certificate));
    ASSIGN_OR_RETURN(const X509Ptr certificate, FirstCertificate(files.certificate, pem));
    RETURN_IF_ERROR(CheckValidity(files.certificate, certificate.get(), now));
    ASSIGN_OR_RETURN(const std::string key_pem, env->ReadFile(files.key));
    const BioPtr text = Text(key_pem);
    const KeyPtr key(PEM_read_bio_PrivateKey(text.get(), nullptr, &NoPassword, nullptr));
    const bool belongs =
        key != nullptr && X509_check_private_key(certificate.get(), key.get()) == 1;
    ERR_clear_error();
    if (key == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(files.key, ": expected a private key in PEM without a password"));
    }
    if (!belongs) {
      return absl::InvalidArgumentError(
          absl::StrCat(files.key, ": is not the key of the certificate in ", files.certificate));
    }
  }
  if (!files.authority.empty()) {
    ASSIGN_OR_RETURN(const std::string pem, env->ReadFile(files.authority));
    RETURN_IF_ERROR(FirstCertificate(files.authority, pem).status());
  }
  return absl::OkStatus();
}

}  // namespace tritter
