#ifndef STREAMNORM_CLIENT_CLI_EXIT_CODE_H_
#define STREAMNORM_CLIENT_CLI_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace streamnorm {

// What the program ends with; scripts rely on it.
enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitUnreachable = 4,
  kExitPermission = 5,
  kExitConflict = 6,      // exists already, frozen, changed by someone else
  kExitInterrupted = 130  // SIGINT; 143 for SIGTERM
};

// The command line is wrong: kExitUsage.
absl::Status UsageError(absl::string_view message);

int ExitCodeOf(const absl::Status& status);

// One line for stderr: what is wrong and what to do about it. `server` is the
// address that was tried.
std::string ErrorLine(const absl::Status& status, absl::string_view server);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_EXIT_CODE_H_
