#ifndef STREAMNORM_CLIENT_CLI_BENCH_DURABILITY_H_
#define STREAMNORM_CLIENT_CLI_BENCH_DURABILITY_H_

#include <string>

#include "absl/status/status.h"
#include "client/cli/bench_load.h"
#include "client/cli/stop_signal.h"

namespace streamnorm {

struct DurabilityBench {
  std::string server_binary;  // "" = the one next door
  std::string directory;      // for the stores; "" = for temporary files
  int rounds = 7;
  LoadTime time;
};

// What durability costs, and what it would cost otherwise: the same load on
// servers that differ in their store only, in rounds that interleave them, and
// how long a server takes to come back from a full log. Prints tables;
// CANCELLED once `stop` is requested.
absl::Status RunDurabilityBench(const DurabilityBench& bench,
                                const StopSignal& stop);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_BENCH_DURABILITY_H_
