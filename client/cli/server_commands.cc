// health, info, version.

#include <map>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "google/protobuf/util/time_util.h"

namespace streamnorm {
namespace {

using google::protobuf::util::TimeUtil;

absl::StatusOr<int> Health(const Globals& globals) {
  const auto format = ChooseFormat(globals.format(),
                                   {OutputFormat::kTable, OutputFormat::kJson});
  if (!format.ok()) return format.status();
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  const auto health = (*client)->CheckHealth();
  if (!health.ok()) return health.status();
  const bool json = *format == OutputFormat::kJson;
  const auto printed =
      Print(json ? absl::StrCat("{\"status\":\"", *health, "\"}\n")
                 : absl::StrCat(*health, "\n"));
  if (!printed.ok()) return printed;
  return *health == "SERVING" ? kExitOk : kExitFailed;
}

Table DescribeServer(const v1::ServerInfo& info) {
  Table table({{"PROPERTY"}, {"VALUE"}});
  const auto add = [&](const std::string& name, const auto& value) {
    table.AddRow({name, absl::StrCat(value)});
  };
  add("version", info.version());
  add("store", info.store());
  add("started", ShortTime(TimeUtil::ToString(info.start_time())));
  add("uptime", absl::StrCat(TimeUtil::DurationToSeconds(info.uptime()), " s"));
  add("normalizers", info.normalizers());
  add("sessions", info.sessions());
  add("commits", info.commits());
  add("last commit", absl::StrCat(TimeUtil::DurationToMicroseconds(
                                      info.last_commit_duration()),
                                  " us"));
  add("accepting updates", info.accepting_updates() ? "yes" : "no");
  if (info.quarantined_size() > 0) {
    add("quarantined", absl::StrJoin(info.quarantined(), ","));
  }
  add("history id", absl::BytesToHexString(info.history_id()));
  add("incarnation", info.incarnation());
  const std::map<std::string, int64_t> limits(info.limits().begin(),
                                              info.limits().end());
  for (const auto& [name, limit] : limits) add("--" + name, limit);
  return table;
}

absl::StatusOr<int> Info(const Globals& globals) {
  const auto format = ChooseFormat(
      globals.format(),
      {OutputFormat::kTable, OutputFormat::kJson, OutputFormat::kNdjson});
  if (!format.ok()) return format.status();
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  const auto info = (*client)->GetServerInfo();
  if (!info.ok()) return info.status();
  const auto printed =
      *format == OutputFormat::kTable
          ? PrintTable(DescribeServer(*info))
          : Print(ToJson(*info, *format == OutputFormat::kJson));
  if (!printed.ok()) return printed;
  return kExitOk;
}

absl::StatusOr<int> Version(const Globals& globals) {
  const auto format = ChooseFormat(globals.format(),
                                   {OutputFormat::kTable, OutputFormat::kJson});
  if (!format.ok()) return format.status();
  const bool json = *format == OutputFormat::kJson;
  const auto printed = Print(json ? "{\"version\":\"" STREAMNORM_VERSION "\"}\n"
                                  : "streamnorm " STREAMNORM_VERSION "\n");
  if (!printed.ok()) return printed;
  return kExitOk;
}

}  // namespace

void AddServerCommands(CommandLine* line) {
  line->Add("health",
            "Asks whether the server serves: 0 yes, 1 no, 4 no answer",
            kServerGroup, Health);
  line->Add("info", "Shows version, limits and state of the server",
            kServerGroup, Info);
  line->Add("version", "Shows the version of this program", kOtherGroup,
            Version);
}

}  // namespace streamnorm
