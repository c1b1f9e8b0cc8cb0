#ifndef STREAMNORM_TESTS_BENCHMARKS_REDUCING_CLIENT_H_
#define STREAMNORM_TESTS_BENCHMARKS_REDUCING_CLIENT_H_

#include "client/cli/server_process.h"
#include "tests/benchmarks/measure.h"
#include "tests/benchmarks/sides.h"

namespace streamnorm {

// What a client does with a batch besides MergeMoments of its moments.
enum class Reducing {
  kRows,            // folds it
  kAndNormalizing,  // and normalizes it with the statistics that come back
};

// Clients of the library that send moments and no rows, by the lane if `lane`.
// One in flight.
Side ReducingSide(const ServerProcess& server, const Work& work, bool lane,
                  Reducing reducing);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_REDUCING_CLIENT_H_
