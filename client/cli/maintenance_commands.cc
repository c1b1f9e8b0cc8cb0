// backup, verify.

#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/progress.h"
#include "google/protobuf/util/time_util.h"

namespace streamnorm {
namespace {

using google::protobuf::util::TimeUtil;

Client::OnProgress ShowOn(Progress* line) {
  return [line](const v1::MaintenanceProgress& progress) {
    line->Show(static_cast<uint64_t>(progress.records()),
               static_cast<uint64_t>(progress.bytes()),
               static_cast<uint64_t>(progress.total_bytes()));
  };
}

Table DescribeBackup(const v1::Backup& backup) {
  Table table({{"PROPERTY"}, {"VALUE"}});
  const auto add = [&](const std::string& name, const auto& value) {
    table.AddRow({name, absl::StrCat(value)});
  };
  add("path", backup.path());
  add("created", ShortTime(TimeUtil::ToString(backup.create_time())));
  add("bytes", Grouped(static_cast<uint64_t>(backup.bytes())));
  add("normalizers", backup.normalizers());
  add("sessions", backup.sessions());
  add("sequence", backup.sequence());
  add("history id", absl::BytesToHexString(backup.history_id()));
  return table;
}

absl::Status PrintBackup(const v1::Backup& backup, OutputFormat format) {
  switch (format) {
    case OutputFormat::kName:
      return Print(backup.path() + "\n");
    case OutputFormat::kTable:
      return PrintTable(DescribeBackup(backup));
    default:
      return Print(ToJson(backup, format == OutputFormat::kJson));
  }
}

absl::StatusOr<int> Backup(const Globals& globals, const std::string& name) {
  const auto format = ChooseFormat(
      globals.format(), {OutputFormat::kTable, OutputFormat::kJson,
                         OutputFormat::kNdjson, OutputFormat::kName});
  if (!format.ok()) return format.status();
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  Progress line("records");
  const auto backup = (*client)->CreateBackup(name, ShowOn(&line));
  line.Erase();
  if (!backup.ok()) return backup.status();
  if (auto s = PrintBackup(*backup, *format); !s.ok()) return s;
  return kExitOk;
}

Table DescribeReport(const v1::StoreReport& report) {
  Table table({{"PROPERTY"}, {"VALUE"}});
  const auto add = [&](const std::string& name, int64_t value) {
    table.AddRow({name, Grouped(static_cast<uint64_t>(value))});
  };
  add("tables", report.tables());
  add("table bytes", report.table_bytes());
  add("records", report.records());
  add("normalizers", report.normalizers());
  add("sessions", report.sessions());
  add("ledgers", report.ledgers());
  add("damaged", report.damaged_count());
  return table;
}

void SayDamage(const v1::StoreReport& report) {
  for (const v1::DamagedRecord& record : report.damaged()) {
    Say(absl::StrCat("damaged: ", record.normalizer(),
                     record.normalizer().empty() ? "" : ": ",
                     record.problem()));
  }
  const int64_t more = report.damaged_count() - report.damaged_size();
  if (more > 0) Say(absl::StrCat("damaged: ", more, " more"));
}

absl::StatusOr<int> Verify(const Globals& globals) {
  const auto format = ChooseFormat(
      globals.format(),
      {OutputFormat::kTable, OutputFormat::kJson, OutputFormat::kNdjson});
  if (!format.ok()) return format.status();
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  Progress line("records");
  const auto report = (*client)->VerifyStore(ShowOn(&line));
  line.Erase();
  if (!report.ok()) return report.status();
  const auto printed =
      *format == OutputFormat::kTable
          ? PrintTable(DescribeReport(*report))
          : Print(ToJson(*report, *format == OutputFormat::kJson));
  if (!printed.ok()) return printed;
  SayDamage(*report);
  return report->damaged_count() == 0 ? kExitOk : kExitFailed;
}

}  // namespace

void AddMaintenanceCommands(CommandLine* line) {
  const auto name = std::make_shared<std::string>();
  line->Add("backup",
            "Backs the server's store up while it serves, under its "
            "--backup_dir",
            kServerGroup,
            [name](const Globals& globals) { return Backup(globals, *name); })
      ->add_option("NAME", *name, "What the backup is to be called")
      ->option_text(" ")
      ->required();
  line->Add("verify",
            "Looks for damage in the server's store while it serves: 0 none, "
            "1 some",
            kServerGroup, Verify);
}

}  // namespace streamnorm
