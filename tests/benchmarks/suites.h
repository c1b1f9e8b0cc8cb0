#ifndef STREAMNORM_TESTS_BENCHMARKS_SUITES_H_
#define STREAMNORM_TESTS_BENCHMARKS_SUITES_H_

#include "absl/status/status.h"
#include "tests/benchmarks/measure.h"
#include "tests/benchmarks/peers.h"

namespace streamnorm {

// Each prints its tables and facts.

// Normalize against an echo of the same messages; clients beside one another.
absl::Status RunTransportSuite(Peers* peers, const Timing& timing);

// Against what people write in an afternoon with grpcio and NumPy.
absl::Status RunNaiveSuite(Peers* peers, const Timing& timing);

// Against Redis with a Lua script, and with an optimistic transaction.
absl::Status RunRedisSuite(Peers* peers, const Timing& timing);

// The lane against gRPC and against a bare socket.
absl::Status RunLaneSuite(Peers* peers, const Timing& timing);

// MergeMoments and ExchangeMoments against an echo and against sending rows.
absl::Status RunMomentsSuite(Peers* peers, const Timing& timing);

// 100,000 normalizers, and what sessions and streams take.
absl::Status RunManySuite(Peers* peers, const Timing& timing);

// How cost grows: JSON lines for scale_curves.py.
absl::Status RunScaleSuite(Peers* peers, const Timing& timing);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_BENCHMARKS_SUITES_H_
