#ifndef STREAMNORM_TESTS_BENCHMARKS_LOAD_CLIENT_H_
#define STREAMNORM_TESTS_BENCHMARKS_LOAD_CLIENT_H_

#include <chrono>
#include <vector>

#include "absl/status/status.h"

namespace streamnorm {

using LoadClock = std::chrono::steady_clock;

// What is measured: answers that come from `begin` on and before `end`.
struct LoadWindow {
  LoadClock::time_point begin;
  LoadClock::time_point end;
};

// A client that keeps a server busy over a connection of its own. Used by one
// thread at a time.
class LoadClient {
 public:
  LoadClient() = default;
  virtual ~LoadClient() = default;
  LoadClient(const LoadClient&) = delete;
  LoadClient& operator=(const LoadClient&) = delete;

  // Sends from now on until the window ends, and takes what is due then. An
  // error if an answer is not one.
  virtual absl::Status Run(const LoadWindow& window) = 0;

  // In microseconds, in the order of the answers. Taken away by the call.
  std::vector<double> TakeLatencies();

 protected:
  // An answer that came just now.
  void Record(LoadClock::time_point sent, const LoadWindow& window);

 private:
  std::vector<double> latencies_us_;
};

// One request after the other.
class PingPongClient : public LoadClient {
 public:
  absl::Status Run(const LoadWindow& window) override;

 protected:
  virtual absl::Status Once() = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_LOAD_CLIENT_H_
