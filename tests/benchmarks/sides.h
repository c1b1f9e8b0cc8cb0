#ifndef STREAMNORM_TESTS_BENCHMARKS_SIDES_H_
#define STREAMNORM_TESTS_BENCHMARKS_SIDES_H_

#include <cstddef>

#include "client/cli/server_process.h"
#include "tests/benchmarks/measure.h"

namespace streamnorm {

// What a group of clients does, each over gRPC and a connection of its own:
// the same batch again and again. Client i updates normalizer i mod
// `normalizers`.
struct Work {
  size_t clients = 1;
  size_t in_flight = 0;  // of each client on its stream; 0 = unary calls
  size_t rows = 4;       // of a batch, FP32
  size_t features = 32;
  size_t normalizers = 1;
};

// Against StreamNorm: in sessions, counted exactly once.
Side SessionSide(const ServerProcess& server, const Work& work);

// The same bytes to a server that knows nothing of sessions.
Side PlainSide(const ServerProcess& server, const Work& work);

// Through the client library, one update after the other, as a training job
// does it (`clients` and the batch of `work` count). By the lane if `lane`;
// over a gRPC stream if not.
Side LibrarySide(const ServerProcess& server, const Work& work, bool lane);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_SIDES_H_
