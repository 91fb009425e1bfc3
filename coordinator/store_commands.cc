#include "coordinator/store_commands.h"

#include "absl/strings/str_cat.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "coordinator/store/copy_store.h"

namespace tritter {

void AddStoreCommands(CommandLine* app, StoreCommands* commands) {
  app->FlagsOfTheProgramAnywhere();  // before the commands, which take that over
  CommandLine* backup = app->AddCommand(
      "backup", "write the whole store to one SQLite file, while a coordinator may be at work");
  backup->AddFlag("--to", &commands->to, "the new file").Required();
  backup->OnCall([commands] { commands->name = "backup"; });
  CommandLine* restore = app->AddCommand(
      "restore", "fill an empty store from a backup: also the way from SQLite to PostgreSQL");
  restore->AddFlag("--from", &commands->from, "the backup").Required();
  restore->OnCall([commands] { commands->name = "restore"; });
}

absl::StatusOr<std::string> RunStoreCommand(Env* env, const StoreCommands& commands,
                                            const StoreChoice& store) {
  RETURN_IF_ERROR(CheckStoreChoice(store));
  const bool backup = commands.name == "backup";
  if (store.data_dir.empty() && !(backup && store.shared())) {
    return absl::InvalidArgumentError(
        "--data-dir: must name the folder of the store and of the runs");
  }
  const absl::StatusOr<CopiedStore> copied =
      backup ? BackUpStore(env, store, commands.to)
             : RestoreStore(env, commands.from, store, WaitForShutdown);
  if (!copied.ok()) return copied.status();
  return absl::StrCat(backup ? "backed up store " : "restored store ", copied->store_id,
                      " (schema version ", copied->schema_version, "): ", copied->runs, " runs, ",
                      copied->rows, " rows, ", backup ? "to " : "from ",
                      backup ? commands.to : commands.from);
}

}  // namespace tritter
