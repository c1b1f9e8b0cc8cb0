// get, list, reset, freeze, unfreeze, delete.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/normalizer_list.h"
#include "client/cli/normalizer_view.h"
#include "client/cli/progress.h"

namespace streamnorm {
namespace {

struct Flags {
  std::vector<std::string> ids;
  std::string etag;
  bool if_exists = false;
};

// Runs `call` for every id. Goes on after a failure and answers with the code
// of the first one.
template <typename Call>
absl::StatusOr<int> ForEachId(const Globals& globals, const Flags& flags,
                              Call call) {
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  int code = kExitOk;
  for (const std::string& id : flags.ids) {
    const absl::Status status = call(client->get(), IdOf(id));
    if (status.ok()) continue;
    const int failed = Report(status, globals);
    if (code == kExitOk) code = failed;
  }
  return code;
}

absl::StatusOr<int> Get(const Globals& globals, const Flags& flags) {
  const auto format = ChooseFormat(
      globals.format(), {OutputFormat::kTable, OutputFormat::kJson,
                         OutputFormat::kNdjson, OutputFormat::kName});
  if (!format.ok()) return format.status();
  return ForEachId(globals, flags, [&](Client* client, const std::string& id) {
    const auto normalizer = client->GetNormalizer(id);
    if (!normalizer.ok()) return normalizer.status();
    return PrintNormalizer(*normalizer, *format);
  });
}

absl::Status PrintLines(const std::vector<v1::Normalizer>& normalizers,
                        OutputFormat format) {
  for (const v1::Normalizer& normalizer : normalizers) {
    if (auto s = PrintNormalizer(normalizer, format); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status PrintList(const std::vector<v1::Normalizer>& normalizers,
                       OutputFormat format) {
  switch (format) {
    case OutputFormat::kJson: {
      v1::ListNormalizersResponse list;
      for (const auto& normalizer : normalizers) {
        *list.add_normalizers() = normalizer;
      }
      return Print(ToJson(list, /*pretty=*/true));
    }
    case OutputFormat::kNdjson:
    case OutputFormat::kName:
      return PrintLines(normalizers, format);
    case OutputFormat::kCsv:
      return Print(ListNormalizersCsv(normalizers));
    default:
      if (normalizers.empty()) {
        Say("there are no normalizers yet; 'streamnorm create' makes one");
        return absl::OkStatus();
      }
      return PrintTable(
          ListNormalizersTable(normalizers, format == OutputFormat::kWide));
  }
}

absl::StatusOr<int> List(const Globals& globals) {
  const auto format = ChooseFormat(
      globals.format(),
      {OutputFormat::kTable, OutputFormat::kWide, OutputFormat::kJson,
       OutputFormat::kNdjson, OutputFormat::kCsv, OutputFormat::kName});
  if (!format.ok()) return format.status();
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  const auto normalizers = ListAll(client->get());
  if (!normalizers.ok()) return normalizers.status();
  if (auto s = PrintList(*normalizers, *format); !s.ok()) return s;
  return kExitOk;
}

// A command that changes a normalizer says so on stderr; stdout gets the
// normalizer if a format was asked for.
template <typename Change>
absl::StatusOr<int> ChangeEach(const Globals& globals, const Flags& flags,
                               const char* done, Change change) {
  const auto format = ChooseFormat(
      globals.format(), {OutputFormat::kTable, OutputFormat::kJson,
                         OutputFormat::kNdjson, OutputFormat::kName});
  if (!format.ok()) return format.status();
  return ForEachId(globals, flags, [&](Client* client, const std::string& id) {
    const absl::StatusOr<v1::Normalizer> changed = change(client, id);
    if (!changed.ok()) return changed.status();
    Say(absl::StrCat(done, " ", changed->name()));
    if (!globals.format()) return absl::OkStatus();
    return PrintNormalizer(*changed, *format);
  });
}

absl::StatusOr<int> Reset(const Globals& globals, const Flags& flags) {
  return ChangeEach(globals, flags, "reset",
                    [&](Client* client, const std::string& id) {
                      return client->ResetStatistics(id, flags.etag);
                    });
}

absl::StatusOr<int> Freeze(const Globals& globals, const Flags& flags) {
  return ChangeEach(globals, flags, "froze",
                    [](Client* client, const std::string& id) {
                      return client->FreezeNormalizer(id);
                    });
}

absl::StatusOr<int> Unfreeze(const Globals& globals, const Flags& flags) {
  return ChangeEach(globals, flags, "unfroze",
                    [](Client* client, const std::string& id) {
                      return client->UnfreezeNormalizer(id);
                    });
}

absl::StatusOr<int> Delete(const Globals& globals, const Flags& flags) {
  const auto format = ChooseFormat(globals.format(), {OutputFormat::kName});
  if (!format.ok()) return format.status();
  return ForEachId(globals, flags, [&](Client* client, const std::string& id) {
    const absl::Status status = client->DeleteNormalizer(id, flags.etag);
    if (absl::IsNotFound(status) && flags.if_exists) return absl::OkStatus();
    if (!status.ok()) return status;
    Say(absl::StrCat("deleted normalizers/", id));
    return globals.format() ? Print(id + "\n") : absl::OkStatus();
  });
}

CLI::App* AddWithIds(CommandLine* line, const char* name,
                     const char* description,
                     absl::StatusOr<int> (*run)(const Globals&, const Flags&),
                     std::shared_ptr<Flags> flags) {
  CLI::App* command = line->Add(
      name, description, kNormalizerGroup,
      [run, flags](const Globals& globals) { return run(globals, *flags); });
  command->add_option("ID", flags->ids, "Which; several are taken in turn")
      ->option_text(" ")
      ->required();
  return command;
}

}  // namespace

void AddResourceCommands(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  const auto add_etag = [&](CLI::App* command) {
    command
        ->add_option("--etag", flags->etag,
                     "Only if it is still as it was when 'get' showed this")
        ->option_text("ETAG");
  };
  AddWithIds(line, "get", "Shows a normalizer", Get, flags);
  line->Add("list", "Lists the normalizers", kNormalizerGroup, List);
  add_etag(AddWithIds(line, "reset", "Forgets every row a normalizer counted",
                      Reset, flags));
  AddWithIds(line, "freeze",
             "Stops counting; it goes on normalizing with what it has", Freeze,
             flags);
  AddWithIds(line, "unfreeze", "Counts again", Unfreeze, flags);
  CLI::App* remove = AddWithIds(
      line, "delete", "Removes a normalizer and its statistics for good",
      Delete, flags);
  add_etag(remove);
  remove->add_flag("--if-exists", flags->if_exists,
                   "It is no error if there is none");
}

}  // namespace streamnorm
