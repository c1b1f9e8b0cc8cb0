// What counting costs a message: metrics_benchmark, by itself. A 4x32 message
// takes about 4 us.

#include <benchmark/benchmark.h>

#include <chrono>

#include "server/metrics.h"

namespace streamnorm {
namespace {

// Of the rest: there are two of these in each message.
void OneLookAtTheClock(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(RpcMetrics::Clock::now());
  }
}
BENCHMARK(OneLookAtTheClock);

// As Normalize counts: the request, its rows and its update.
void OneMessage(benchmark::State& state) {
  static RpcMetrics rpc("Normalize");
  static WorkMetrics work;
  for (auto _ : state) {
    const auto begun = rpc.Begin();
    work.Add(WorkMetrics::kRowsNormalized, 4);
    work.Add(WorkMetrics::kUpdatesCounted, 1);
    work.Add(WorkMetrics::kRowsCounted, 4);
    rpc.End(begun, absl::StatusCode::kOk);
  }
}
BENCHMARK(OneMessage)->Threads(1)->Threads(2)->Threads(8);

}  // namespace
}  // namespace streamnorm
