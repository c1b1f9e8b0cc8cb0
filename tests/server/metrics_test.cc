#include "server/metrics.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace streamnorm {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(Metrics, ABucketHasItsUpperEnd) {
  EXPECT_EQ(LatencyBucket(nanoseconds(0)), 0u);
  EXPECT_EQ(LatencyBucket(microseconds(10)), 0u);
  EXPECT_EQ(LatencyBucket(microseconds(10) + nanoseconds(1)), 1u);
  EXPECT_EQ(LatencyBucket(seconds(10)), kLatencyBuckets.size() - 1);
  EXPECT_EQ(LatencyBucket(seconds(11)), kLatencyBuckets.size());
}

TEST(Metrics, BucketsGrow) {
  for (size_t i = 1; i < kLatencyBuckets.size(); ++i) {
    EXPECT_LT(kLatencyBuckets[i - 1], kLatencyBuckets[i]) << i;
  }
}

TEST(Metrics, AHistogramHasEveryValueAndTheirSum) {
  LatencyHistogram histogram;
  histogram.Observe(microseconds(3));
  histogram.Observe(microseconds(4));
  histogram.Observe(seconds(20));
  const LatencySnapshot snapshot = histogram.Snapshot();
  EXPECT_EQ(snapshot.counts.front(), 2u);
  EXPECT_EQ(snapshot.counts.back(), 1u);
  EXPECT_EQ(snapshot.sum, seconds(20) + microseconds(7));
}

TEST(Metrics, ARequestIsInFlightUntilItEnds) {
  RpcMetrics rpc("Normalize");
  const auto first = rpc.Begin();
  const auto second = rpc.Begin();
  EXPECT_EQ(rpc.InFlight(), 2u);
  rpc.End(first, absl::StatusCode::kOk);
  rpc.End(second, absl::StatusCode::kNotFound);
  EXPECT_EQ(rpc.InFlight(), 0u);
  EXPECT_EQ(rpc.Ended(absl::StatusCode::kOk), 1u);
  EXPECT_EQ(rpc.Ended(absl::StatusCode::kNotFound), 1u);
  EXPECT_EQ(rpc.Ended(absl::StatusCode::kInternal), 0u);
}

TEST(Metrics, ACodeOfNoNameIsUnknown) {
  RpcMetrics rpc("Normalize");
  rpc.End(rpc.Begin(), static_cast<absl::StatusCode>(99));
  EXPECT_EQ(rpc.Ended(absl::StatusCode::kUnknown), 1u);
}

TEST(Metrics, ThreadsLoseNoCount) {
  constexpr int kThreads = 20, kEach = 1000;  // more than kCounterShards
  RpcMetrics rpc("Normalize");
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&rpc] {
      for (int i = 0; i < kEach; ++i) {
        rpc.End(rpc.Begin(), absl::StatusCode::kOk);
        rpc.InFlight();  // a scrape meanwhile
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(rpc.Ended(absl::StatusCode::kOk), uint64_t{kThreads} * kEach);
  EXPECT_EQ(rpc.InFlight(), 0u);
}

}  // namespace
}  // namespace streamnorm
