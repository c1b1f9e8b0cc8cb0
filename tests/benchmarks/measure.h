#ifndef STREAMNORM_TESTS_BENCHMARKS_MEASURE_H_
#define STREAMNORM_TESTS_BENCHMARKS_MEASURE_H_

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/benchmarks/load_client.h"

namespace streamnorm {

// How long one measurement takes, and how many are made of each side.
struct Timing {
  int rounds = 5;
  double seconds = 1;
  double warm_up_seconds = 0.1;
  std::string only =
      {};  // rows of the transport suite whose names contain this
};

using LoadClients = std::vector<std::unique_ptr<LoadClient>>;

// Clients of one server; connects them anew for each measurement.
struct Side {
  pid_t server = 0;
  std::function<absl::StatusOr<LoadClients>()> connect;
};

// One measurement. CPU is user and system time per message.
struct Measured {
  double messages_per_s = 0;
  double p50_us = 0;
  double p99_us = 0;
  double client_cpu_us = 0;
  double server_cpu_us = 0;
};
using Field = double Measured::*;

// `beside` works at the same time and is not measured.
absl::StatusOr<Measured> Measure(const Side& side, const Timing& timing,
                                 const Side* beside = nullptr);

// Two sides, measured in turns, so that what else the machine does hits both.
struct Comparison {
  std::vector<Measured> ours, peers;

  // The median over the rounds, of a ratio that of the rounds' ratios.
  double Ours(Field field) const;
  double Peers(Field field) const;
  double Ratio(Field field) const;
};
absl::StatusOr<Comparison> Compare(const Side& ours, const Side& peer,
                                   const Timing& timing);

// Connects `count` clients by `make(number)`.
template <typename Make>
std::function<absl::StatusOr<LoadClients>()> Connecting(size_t count,
                                                        Make make) {
  return [count, make]() -> absl::StatusOr<LoadClients> {
    LoadClients clients;
    for (size_t i = 0; i < count; ++i) {
      absl::StatusOr<std::unique_ptr<LoadClient>> client = make(i);
      if (!client.ok()) return client.status();
      clients.push_back(*std::move(client));
    }
    return clients;
  };
}

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_MEASURE_H_
