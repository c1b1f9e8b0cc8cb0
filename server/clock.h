#ifndef STREAMNORM_SERVER_CLOCK_H_
#define STREAMNORM_SERVER_CLOCK_H_

#include <chrono>
#include <cstdint>

namespace streamnorm {

// Microseconds since 1970-01-01 UTC.
inline int64_t NowMicros() {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<std::chrono::microseconds>(
             system_clock::now().time_since_epoch())
      .count();
}

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_CLOCK_H_
