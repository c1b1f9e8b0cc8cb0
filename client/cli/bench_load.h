#ifndef STREAMNORM_CLIENT_CLI_BENCH_LOAD_H_
#define STREAMNORM_CLIENT_CLI_BENCH_LOAD_H_

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace streamnorm {

// What training jobs do to a server, all at once: each has a connection and a
// session of its own and sends the same batch again and again.
struct Load {
  size_t clients = 1;
  size_t in_flight = 1;    // of each client
  size_t normalizers = 1;  // client i works on normalizer i mod this
  size_t rows = 4;         // of a batch, FP32
  size_t features = 32;
  bool wait_durable = false;  // an answer means that it is on disk
};

// How long it is measured, after it has run for `warm_up`.
struct LoadTime {
  std::chrono::milliseconds warm_up{200};
  std::chrono::milliseconds measured{1000};
};

struct LoadResult {
  double messages_per_s = 0;

  // From Submit to the answer, in microseconds.
  double p50_us = 0;
  double p99_us = 0;

  // User and system time per message, in microseconds, of this process and of
  // the server's.
  double client_cpu_us = 0;
  double server_cpu_us = 0;
};

// The normalizer of that number and size.
std::string LoadNormalizerId(size_t features, size_t number);

// Creates the normalizers of `load` where they are missing.
absl::Status PrepareLoad(const std::string& address, const Load& load);

// Runs `load` against the server at `address`, whose process is `server`.
// REQUIRES: PrepareLoad.
absl::StatusOr<LoadResult> RunLoad(const std::string& address, pid_t server,
                                   const Load& load, const LoadTime& time);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_BENCH_LOAD_H_
