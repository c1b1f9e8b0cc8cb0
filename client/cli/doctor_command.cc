// doctor.

#include <sys/stat.h>

#include <cmath>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "google/protobuf/util/time_util.h"

namespace streamnorm {
namespace {

using google::protobuf::util::TimeUtil;

// Times in logs can't be compared beyond this.
constexpr double kMostClockSkewS = 2;

// A commit is one synced write; a disk that takes longer holds everyone up.
constexpr int64_t kSlowCommitMs = 200;

constexpr int64_t kSmallMessageBytes = int64_t{4} << 20;  // gRPC's default

// What was found, a line for each check.
class Findings {
 public:
  void Ok(absl::string_view check, absl::string_view what) {
    Add("ok", check, what, "");
  }
  void Warn(absl::string_view check, absl::string_view what,
            absl::string_view mend) {
    Add("warn", check, what, mend);
  }
  void Fail(absl::string_view check, absl::string_view what,
            absl::string_view mend) {
    Add("fail", check, what, mend);
    failed_ = true;
  }

  absl::StatusOr<int> Print() const {
    if (auto s = streamnorm::Print(text_); !s.ok()) return s;
    return failed_ ? kExitFailed : kExitOk;
  }

 private:
  void Add(absl::string_view verdict, absl::string_view check,
           absl::string_view what, absl::string_view mend) {
    std::string line = absl::StrCat(
        verdict, std::string(6 - verdict.size(), ' '), check, ": ", what);
    if (!mend.empty()) absl::StrAppend(&line, "; ", mend);
    absl::StrAppend(&text_, Printable(std::move(line)), "\n");
  }

  std::string text_;
  bool failed_ = false;
};

void CheckStore(const v1::ServerInfo& info, Findings* findings) {
  if (info.store() == "memory") {
    findings->Warn("store", "memory: everything is lost when the server ends",
                   "start it without --store=memory");
  } else {
    findings->Ok("store", info.store());
  }
  if (info.accepting_updates()) {
    findings->Ok("updates", "accepted");
  } else {
    findings->Fail("updates", "refused: the server's disk is full or failing",
                   "free some of it (--min_free_disk_bytes), see its log");
  }
  if (info.quarantined_size() > 0) {
    findings->Fail("records",
                   absl::StrCat(info.quarantined_size(), " are damaged, first ",
                                info.quarantined(0)),
                   "'streamnorm verify' says where; restore a backup");
  } else {
    findings->Ok("records", "none known to be damaged");
  }
  const int64_t commit_ms =
      TimeUtil::DurationToMilliseconds(info.last_commit_duration());
  const std::string commit = absl::StrCat("the last took ", commit_ms, " ms");
  if (commit_ms >= kSlowCommitMs) {
    findings->Warn("commit", commit, "put --data_dir on a faster disk");
  } else {
    findings->Ok("commit", commit);
  }
}

void CheckLane(const v1::ServerInfo& info, Findings* findings) {
  struct stat status {};
  if (info.lane().empty()) {
    findings->Ok("lane", "the server has none: clients use gRPC");
  } else if (stat(info.lane().c_str(), &status) == 0 &&
             S_ISSOCK(status.st_mode)) {
    findings->Ok("lane", info.lane());
  } else {
    findings->Warn("lane", absl::StrCat(info.lane(), " is not to be seen here"),
                   "no harm from another machine; on the server's, share its "
                   "folder, or set --lane");
  }
}

void CheckClock(const v1::ServerInfo& info, Findings* findings) {
  const double server = static_cast<double>(TimeUtil::TimestampToMilliseconds(
                            info.start_time() + info.uptime())) /
                        1000;
  const double skew = server - static_cast<double>(std::time(nullptr));
  if (std::fabs(skew) > kMostClockSkewS) {
    findings->Warn("clock",
                   absl::StrCat("the server's is ", std::llround(skew),
                                " s from this one's"),
                   "set one of them (NTP), or the server's was set since it "
                   "started; no counts depend on it");
  } else {
    findings->Ok("clock", "the same as here");
  }
}

void CheckLimits(const v1::ServerInfo& info, Findings* findings) {
  const auto limit = info.limits().find("max_message_bytes");
  if (limit == info.limits().end()) return;
  const std::string text = absl::StrCat(limit->second, " bytes a message");
  if (limit->second < kSmallMessageBytes) {
    findings->Warn("limits", text, "raise --max_message_bytes");
  } else {
    findings->Ok("limits", text);
  }
}

absl::StatusOr<v1::ServerInfo> GetInfo(const Globals& globals) {
  const auto client = Connect(globals);
  if (!client.ok()) return client.status();
  return (*client)->GetServerInfo();
}

absl::StatusOr<int> Doctor(const Globals& globals) {
  if (auto format = ChooseFormat(globals.format(), {OutputFormat::kTable});
      !format.ok()) {
    return format.status();
  }
  Findings findings;
  const auto info = GetInfo(globals);
  if (!info.ok()) {
    findings.Fail("server", info.status().message(),
                  "start streamnorm-server there, or name another one with "
                  "--server");
    return findings.Print();
  }
  findings.Ok("server", absl::StrCat("answers at ", globals.server));
  if (info->version() == STREAMNORM_VERSION) {
    findings.Ok("version", info->version());
  } else {
    findings.Warn("version",
                  absl::StrCat("the server's ", info->version(),
                               ", this program's " STREAMNORM_VERSION),
                  "install the same on both");
  }
  CheckStore(*info, &findings);
  CheckLane(*info, &findings);
  CheckClock(*info, &findings);
  CheckLimits(*info, &findings);
  return findings.Print();
}

}  // namespace

void AddDoctorCommand(CommandLine* line) {
  line->Add("doctor",
            "Checks server, store, lane, clock and limits; says what to mend",
            kServerGroup, Doctor)
      ->footer(
          "A line for each check, with ok, warn or fail; ends with 1 if one "
          "fails.\nHow much room a disk has the server does not tell, only "
          "that there is\nenough (--min_free_disk_bytes).\n\nExample:\n"
          "  streamnorm -s 10.0.0.7:50051 doctor");
}

}  // namespace streamnorm
