// snapshot.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/normalizer_view.h"
#include "google/protobuf/util/time_util.h"

namespace streamnorm {
namespace {

// What the server gives at most.
constexpr int kPageSize = 1000;

struct Flags {
  std::string what;
  std::string id;
  std::vector<std::string> names;
};

// "x" of "x" and of "normalizers/{id}/snapshots/x".
std::string LastPart(const std::string& name) {
  return name.substr(name.rfind('/') + 1);
}

Table SnapshotTable(const std::vector<v1::Snapshot>& snapshots) {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"NAME"},
               {"ROWS", kRight},
               {"REVISION", kRight},
               {"SCALING"},
               {"CREATED"}});
  for (const v1::Snapshot& snapshot : snapshots) {
    table.AddRow({LastPart(snapshot.name()), absl::StrCat(snapshot.row_count()),
                  absl::StrCat(snapshot.revision()),
                  DescribeScaling(snapshot.scaling()),
                  ShortTime(google::protobuf::util::TimeUtil::ToString(
                      snapshot.create_time()))});
  }
  return table;
}

absl::Status PrintSnapshots(const std::vector<v1::Snapshot>& snapshots,
                            OutputFormat format) {
  if (format == OutputFormat::kTable) {
    return PrintTable(SnapshotTable(snapshots));
  }
  if (format == OutputFormat::kJson) {
    v1::ListSnapshotsResponse list;
    for (const auto& snapshot : snapshots) *list.add_snapshots() = snapshot;
    return Print(ToJson(list, /*pretty=*/true));
  }
  for (const v1::Snapshot& snapshot : snapshots) {
    const std::string line = format == OutputFormat::kName
                                 ? LastPart(snapshot.name()) + "\n"
                                 : ToJson(snapshot, /*pretty=*/false);
    if (auto s = Print(line); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::Snapshot>> ListAll(Client* client,
                                                  const std::string& id) {
  std::vector<v1::Snapshot> all;
  std::string token;
  do {
    auto page = client->ListSnapshots(id, kPageSize, token);
    if (!page.ok()) return page.status();
    for (auto& snapshot : *page->mutable_snapshots()) {
      all.push_back(std::move(snapshot));
    }
    token = page->next_page_token();
  } while (!token.empty());
  return all;
}

// Goes on after a failure and answers with the code of the first one.
int ForEachName(Client* client, const Globals& globals, const Flags& flags,
                std::vector<v1::Snapshot>* created) {
  int code = kExitOk;
  for (const std::string& name : flags.names) {
    absl::Status status;
    if (flags.what == "create") {
      auto snapshot = client->CreateSnapshot(IdOf(flags.id), name);
      status = snapshot.status();
      if (snapshot.ok()) {
        Say(absl::StrCat("created ", snapshot->name(), " (",
                         snapshot->row_count(), " rows)"));
        created->push_back(*std::move(snapshot));
      }
    } else {
      status = client->DeleteSnapshot(IdOf(flags.id), name);
      if (status.ok()) Say(absl::StrCat("deleted ", flags.id, ": ", name));
    }
    if (status.ok()) continue;
    const int failed = Report(status, globals);
    if (code == kExitOk) code = failed;
  }
  return code;
}

absl::StatusOr<int> Run(const Globals& globals, const Flags& flags) {
  const bool list = flags.what == "list";
  if (list != flags.names.empty()) {
    return UsageError(list ? "snapshot list: a NAME, want none"
                           : absl::StrCat("snapshot ", flags.what,
                                          ": no NAME, want one or more"));
  }
  const auto format = ChooseFormat(
      globals.format(), {OutputFormat::kTable, OutputFormat::kJson,
                         OutputFormat::kNdjson, OutputFormat::kName});
  if (!format.ok()) return format.status();
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  if (!list) {
    std::vector<v1::Snapshot> created;
    const int code = ForEachName(client->get(), globals, flags, &created);
    if (!globals.format() || created.empty()) return code;
    if (auto s = PrintSnapshots(created, *format); !s.ok()) return s;
    return code;
  }
  const auto snapshots = ListAll(client->get(), IdOf(flags.id));
  if (!snapshots.ok()) return snapshots.status();
  if (snapshots->empty() && *format == OutputFormat::kTable) {
    Say(absl::StrCat(flags.id, " has no snapshots"));
    return kExitOk;
  }
  if (auto s = PrintSnapshots(*snapshots, *format); !s.ok()) return s;
  return kExitOk;
}

}  // namespace

void AddSnapshotCommand(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = line->Add(
      "snapshot",
      "Keeps statistics as they are under a name; 'create', 'list', 'delete'",
      kNormalizerGroup,
      [flags](const Globals& globals) { return Run(globals, *flags); });
  command->add_option("WHAT", flags->what, "create, list or delete")
      ->option_text(" ")
      ->required()
      ->check(CLI::IsMember({"create", "list", "delete"}));
  command->add_option("ID", flags->id, "Of the normalizer")
      ->option_text(" ")
      ->required();
  command->add_option("NAME", flags->names, "Of the snapshots")
      ->option_text(" ");
}

}  // namespace streamnorm
