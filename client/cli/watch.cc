#include "client/cli/watch.h"

#include <poll.h>
#include <unistd.h>

#include "client/cli/exit_code.h"
#include "client/cli/stop_signal.h"

namespace streamnorm {
namespace {

// Of a terminal: to the upper left, and empty from there.
constexpr char kEmptyScreen[] = "\x1b[H\x1b[2J";

absl::Status ShowOnce(const Globals& globals, bool first,
                      const std::function<absl::Status()>& show) {
  if (isatty(STDOUT_FILENO) != 0) {
    if (auto s = Print(kEmptyScreen); !s.ok()) return s;
    if (auto s = FlushStdout(); !s.ok()) return s;  // stderr comes after it
  } else if (!first) {
    if (auto s = Print("\n"); !s.ok()) return s;
  }
  if (absl::Status shown = show(); !shown.ok()) {
    if (ExitCodeOf(shown) != kExitUnreachable) return shown;
    Report(shown, globals);
  }
  return FlushStdout();
}

}  // namespace

absl::StatusOr<int> Watch(double interval_s, uint64_t times,
                          const Globals& globals,
                          const std::function<absl::Status()>& show) {
  const StopSignal stop("stopping");
  for (uint64_t shown = 0; !stop.requested();) {
    if (auto s = ShowOnce(globals, shown == 0, show); !s.ok()) return s;
    if (++shown == times) return kExitOk;
    pollfd requested = {stop.fd(), POLLIN, 0};
    poll(&requested, 1, static_cast<int>(1000 * interval_s));
  }
  return 128 + stop.signal_number();
}

}  // namespace streamnorm
