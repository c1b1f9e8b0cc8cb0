#ifndef STREAMNORM_SERVER_METRICS_H_
#define STREAMNORM_SERVER_METRICS_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "absl/status/status.h"

namespace streamnorm {

// What the service counts while it works. Each part owns its counts and
// metrics_page.cc shows them: nothing here knows how, or looks anything up.

// A thread's own among kCounterShards, so that threads that count at the same
// time write to different cache lines: 16 are as many as a large machine's
// cores that do nothing but count.
inline constexpr size_t kCounterShards = 16;

inline size_t CounterShard() {
  static std::atomic<size_t> next{0};
  constexpr size_t kNone = ~size_t{0};
  static thread_local size_t shard = kNone;
  if (shard == kNone) shard = next.fetch_add(1) % kCounterShards;
  return shard;
}

// `kCount` numbers that only grow. Safe for concurrent use.
template <size_t kCount>
class ShardedCounters {
 public:
  void Add(size_t i, uint64_t amount) {
    shards_[CounterShard()].values[i].fetch_add(amount,
                                                std::memory_order_relaxed);
  }

  // What was added before by this thread, and roughly now by others.
  uint64_t Sum(size_t i) const {
    uint64_t sum = 0;
    for (const Shard& shard : shards_) {
      sum += shard.values[i].load(std::memory_order_relaxed);
    }
    return sum;
  }

 private:
  struct alignas(64) Shard {
    std::array<std::atomic<uint64_t>, kCount> values{};
  };
  std::array<Shard, kCounterShards> shards_;
};

// Upper ends of the buckets of every histogram: 10 us, a few times what a small
// batch takes, to 10 s, the time after which nobody waits any more.
inline constexpr std::array<std::chrono::nanoseconds, 19> kLatencyBuckets = {
    std::chrono::microseconds(10),   std::chrono::microseconds(25),
    std::chrono::microseconds(50),   std::chrono::microseconds(100),
    std::chrono::microseconds(250),  std::chrono::microseconds(500),
    std::chrono::microseconds(1000), std::chrono::microseconds(2500),
    std::chrono::milliseconds(5),    std::chrono::milliseconds(10),
    std::chrono::milliseconds(25),   std::chrono::milliseconds(50),
    std::chrono::milliseconds(100),  std::chrono::milliseconds(250),
    std::chrono::milliseconds(500),  std::chrono::milliseconds(1000),
    std::chrono::milliseconds(2500), std::chrono::seconds(5),
    std::chrono::seconds(10)};

// The bucket of `duration`; the last one, past the end, has what is longer.
inline size_t LatencyBucket(std::chrono::nanoseconds duration) {
  size_t i = 0;  // from below: nearly all are short
  while (i < kLatencyBuckets.size() && duration > kLatencyBuckets[i]) ++i;
  return i;
}

// A histogram as it is read: values per bucket, and their sum.
struct LatencySnapshot {
  std::array<uint64_t, kLatencyBuckets.size() + 1> counts{};
  std::chrono::nanoseconds sum{0};
};

// Safe for concurrent use.
class LatencyHistogram {
 public:
  void Observe(std::chrono::nanoseconds duration) {
    values_.Add(LatencyBucket(duration), 1);
    values_.Add(kSum, static_cast<uint64_t>(duration.count()));
  }
  LatencySnapshot Snapshot() const;

 private:
  static constexpr size_t kSum = kLatencyBuckets.size() + 1;
  ShardedCounters<kSum + 1> values_;
};

// The requests of one method. Of a stream each message is one. Safe for
// concurrent use; a request costs two looks at the clock and four additions.
class RpcMetrics {
 public:
  using Clock = std::chrono::steady_clock;

  explicit RpcMetrics(std::string method) : method_(std::move(method)) {}

  const std::string& method() const { return method_; }

  // A request was received. Returns what End wants, which must follow.
  Clock::time_point Begin() {
    values_.Add(kBegun, 1);
    return Clock::now();
  }

  // Its answer is there.
  void End(Clock::time_point begun, absl::StatusCode code) {
    const auto i = static_cast<size_t>(code);
    values_.Add(kCodes + (i < kCodeCount ? i : kUnknown), 1);
    latency_.Observe(Clock::now() - begun);
  }

  // Requests that were answered with `code`.
  uint64_t Ended(absl::StatusCode code) const {
    return values_.Sum(kCodes + static_cast<size_t>(code));
  }
  uint64_t InFlight() const;
  LatencySnapshot Latency() const { return latency_.Snapshot(); }

  // OK to UNAUTHENTICATED, those of gRPC.
  static constexpr size_t kCodeCount = 17;

 private:
  static constexpr size_t kUnknown = 2;
  static constexpr size_t kBegun = 0;
  static constexpr size_t kCodes = 1;

  const std::string method_;
  ShardedCounters<kCodes + kCodeCount> values_;
  LatencyHistogram latency_;
};

// The methods of one service. Immutable but for the counts, like them safe for
// concurrent use.
class RpcMetricsTable {
 public:
  // `service` is the full name of one of ours.
  explicit RpcMetricsTable(const std::string& service);

  // Which one `method` is: to be asked once, not for each request.
  static size_t IndexOf(const std::string& service, const std::string& method);

  RpcMetrics* at(size_t index) { return &methods_[index]; }
  const std::deque<RpcMetrics>& methods() const { return methods_; }

 private:
  std::deque<RpcMetrics> methods_;
};

// What requests did, however they came. Safe for concurrent use.
class WorkMetrics {
 public:
  enum Kind {
    kRowsCounted,
    kRowsNormalized,
    kRowsDenormalized,
    kUpdatesCounted,
    kUpdatesDuplicate,
    kUpdatesFrozen,
    kKinds
  };
  void Add(Kind kind, uint64_t amount) { values_.Add(kind, amount); }
  uint64_t Sum(Kind kind) const { return values_.Sum(kind); }

 private:
  ShardedCounters<kKinds> values_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_METRICS_H_
