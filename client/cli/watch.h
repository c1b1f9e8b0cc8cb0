#ifndef STREAMNORM_CLIENT_CLI_WATCH_H_
#define STREAMNORM_CLIENT_CLI_WATCH_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/command_line.h"

namespace streamnorm {

// Runs `show` now and every `interval_s` seconds: on a terminal each time on an
// empty screen, else one after the other. A server that is away is said and
// waited for; any other error ends it.
//
// Ends after `times` (0 = never) with kExitOk, and at SIGINT or SIGTERM with
// 128 + signal. Make it before any other thread is made.
absl::StatusOr<int> Watch(double interval_s, uint64_t times,
                          const Globals& globals,
                          const std::function<absl::Status()>& show);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_WATCH_H_
