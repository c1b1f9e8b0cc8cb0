#ifndef STREAMNORM_SERVER_CLOCK_H_
#define STREAMNORM_SERVER_CLOCK_H_

#include <chrono>
#include <cstdint>
#include <functional>

namespace streamnorm {

// Microseconds since 1970-01-01 UTC.
inline int64_t NowMicros() {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<std::chrono::microseconds>(
             system_clock::now().time_since_epoch())
      .count();
}

// Tells durations: never set back, and it stands still while the process does
// not run. A test brings its own.
using MonotonicClock = std::function<std::chrono::steady_clock::time_point()>;

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_CLOCK_H_
