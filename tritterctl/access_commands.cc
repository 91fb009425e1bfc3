// whoami, audit, token: who may do what, and who did.
#include "tritterctl/access_commands.h"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "access/roles.h"
#include "common/errno_status.h"
#include "common/flags.h"
#include "common/sha256.h"
#include "tritterctl/access_client.h"
#include "tritterctl/exit_codes.h"

namespace tritter {
namespace {

int WhoAmI(const CommandContext& context, const ClientSecurity& security) {
  const absl::StatusOr<v1::WhoAmIResponse> who =
      AccessClient(context.coordinator, security).WhoAmI();
  if (!who.ok()) return FailServer(who.status());
  return PrintAnswer(
      context, ProtoToJson(*who),
      [&] { return absl::StrCat(who->name(), ": ", absl::StrJoin(who->roles(), ", "), "\n"); },
      [&] { return who->name() + "\n"; });
}

int Audit(const CommandContext& context, const ClientSecurity& security,
          const v1::ListAuditRequest& request) {
  const absl::StatusOr<v1::ListAuditResponse> audit =
      AccessClient(context.coordinator, security).ListAudit(request);
  if (!audit.ok()) return FailServer(audit.status());
  return PrintAnswer(
      context, ProtoToJson(*audit),
      [&] {
        std::vector<std::vector<std::string>> rows;
        for (const v1::AuditRecord& r : audit->records()) {
          rows.push_back(
              {absl::StrCat(r.id()), FormatTimeMs(r.time_ms()), r.caller(), r.peer(), r.call(),
               r.run().empty() ? "-" : r.run(),
               r.result().empty() ? "unknown: the coordinator ended meanwhile" : r.result()});
        }
        return FormatTable({"ID", "TIME", "CALLER", "PEER", "CALL", "RUN", "RESULT"}, rows);
      },
      [&] {
        std::string ids;
        for (const v1::AuditRecord& r : audit->records()) absl::StrAppend(&ids, r.id(), "\n");
        return ids;
      });
}

// For its owner alone from the first byte on; a file that is there is not touched.
absl::Status WriteSecret(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus("create", path);
  const bool written =
      write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
  const absl::Status status = written ? absl::OkStatus() : ErrnoStatus("write", path);
  close(fd);
  return status;
}

int MakeToken(const CommandContext& context, const std::string& name,
              const std::vector<std::string>& roles, const std::string& file) {
  for (const std::string& role : roles) {
    if (!ParseRole(role).has_value()) {
      return FailLocal(absl::InvalidArgumentError(
          absl::StrCat("--role ", role, ": expected one of ", absl::StrJoin(RoleNames(), ", "))));
    }
  }
  unsigned char bytes[32];
  if (RAND_bytes(bytes, sizeof bytes) != 1)
    return FailLocal(absl::InternalError("the system gave no random bytes"));
  const std::string token = absl::WebSafeBase64Escape(
      absl::string_view(reinterpret_cast<const char*>(bytes), sizeof bytes));
  if (!file.empty()) {
    if (absl::Status status = WriteSecret(file, token + "\n"); !status.ok())
      return FailLocal(status);
  }
  OrderedJson json;
  json["name"] = name;
  json["roles"] = roles;
  json["sha256"] = Sha256Hex(token);
  if (file.empty()) json["token"] = token;
  return PrintAnswer(
      context, json,
      [&] {
        return absl::StrCat(file.empty() ? absl::StrCat("token: ", token, "\n")
                                         : absl::StrCat("the token is in ", file, "\n"),
                            "entry of the access file, below \"tokens:\":\n  - {name: ", name,
                            ", roles: [", absl::StrJoin(roles, ", "),
                            "], sha256: ", Sha256Hex(token), "}\n");
      },
      [&] { return file.empty() ? token + "\n" : file + "\n"; });
}

void AddWhoAmICommand(CommandLine* app, CommandContext* context, const ClientSecurity* security) {
  CommandLine* command = app->AddCommand("whoami", "as whom the coordinator knows the caller");
  command->OnCall([=] { context->run = [=] { return WhoAmI(*context, *security); }; });
}

void AddAuditCommand(CommandLine* app, CommandContext* context, const ClientSecurity* security) {
  auto run = std::make_shared<std::string>();
  auto after = std::make_shared<int64_t>(0);
  auto limit = std::make_shared<int>(100);
  CommandLine* command = app->AddCommand("audit", "who changed what; takes the role operate");
  command->AddFlag("run", run.get(), "id or name; none: every run").HideDefault();
  command->AddFlag("--after", after.get(), "only what follows this id; 0: the newest")
      .NonNegative();
  command->AddFlag("--limit", limit.get(), "at most this many").Between(1, 1000);
  command->OnCall([=] {
    context->run = [=] {
      v1::ListAuditRequest request;
      request.set_run(*run);
      request.set_after_id(*after);
      request.set_limit(*limit);
      return Audit(*context, *security, request);
    };
  });
}

void AddTokenCommand(CommandLine* app, CommandContext* context) {
  auto name = std::make_shared<std::string>();
  auto roles = std::make_shared<std::vector<std::string>>();
  auto file = std::make_shared<std::string>();
  CommandLine* command =
      app->AddCommand("token", "make a token, and its entry for the servers' access file");
  command->AddFlag("name", name.get(), "of its bearer, as it stands in the audit log").Required();
  command->AddFlag("--role", roles.get(), "read, submit, operate, infer or worker (repeatable)")
      .Required();
  command->AddFlag("--out", file.get(),
                   "write the token there, for its owner alone; empty: print it");
  command->OnCall(
      [=] { context->run = [=] { return MakeToken(*context, *name, *roles, *file); }; });
}

}  // namespace

void AddAccessCommands(CommandLine* app, CommandContext* context, const ClientSecurity* security) {
  AddWhoAmICommand(app, context, security);
  AddAuditCommand(app, context, security);
  AddTokenCommand(app, context);
}

}  // namespace tritter
