#include "client/cli/exit_code.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/streamnorm_client.h"

namespace streamnorm {
namespace {

constexpr char kUsagePayload[] = "streamnorm.cli/usage";

struct Remedy {
  const char* reason;  // ErrorInfo.reason
  const char* text;
};

// Where the server's own message doesn't speak of this program's commands.
constexpr Remedy kRemedies[] = {
    {"NORMALIZER_NOT_FOUND",
     "'streamnorm list' shows what there is, 'streamnorm create' makes one"},
    {"NORMALIZER_EXISTS",
     "take another id, or say --if-not-exists if this one will do"},
    {"NORMALIZER_FROZEN", "'streamnorm unfreeze' lets it count again"},
    {"NOT_WARMED_UP", "count rows first: 'streamnorm normalize --mode update'"},
    {"STALE_ETAG", "look at it again with 'streamnorm get' and use its etag"},
    {"BACKUP_EXISTS", "take another name"},
    {"STORE_DAMAGED", "'streamnorm verify' says where"},
    {"SESSION_UNKNOWN", "run the command again"},
    {"EPOCH_FENCED", "run the command again"},
};

bool IsUnreachable(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

std::string RemedyFor(const absl::Status& status, absl::string_view server) {
  const std::string reason = ErrorReason(status);
  for (const Remedy& remedy : kRemedies) {
    if (reason == remedy.reason) return remedy.text;
  }
  if (reason.empty() && IsUnreachable(status)) {
    return absl::StrCat("is a streamnorm-server running at ", server,
                        "? (--server, STREAMNORM_SERVER, --timeout)");
  }
  return "";
}

// The server names its RPCs; people here have commands instead.
absl::string_view WithoutRpcAdvice(absl::string_view message) {
  const auto advice = message.find("; create it with CreateNormalizer");
  return message.substr(0, advice);
}

}  // namespace

absl::Status UsageError(absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsagePayload, absl::Cord());
  return status;
}

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
      return status.GetPayload(kUsagePayload) ? kExitUsage : kExitFailed;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitPermission;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kFailedPrecondition:
      return kExitConflict;
    default:
      return kExitFailed;
  }
}

std::string ErrorLine(const absl::Status& status, absl::string_view server) {
  std::string what(WithoutRpcAdvice(status.message()));
  if (what.empty()) what = absl::StatusCodeToString(status.code());
  const std::string remedy = RemedyFor(status, server);
  const std::string line =
      absl::StrCat("streamnorm: ", what, remedy.empty() ? "" : "; ", remedy);
  return absl::StrReplaceAll(line, {{"\r", " "}, {"\n", " "}, {"\x1b", "?"}});
}

}  // namespace streamnorm
