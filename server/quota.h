#ifndef STREAMNORM_SERVER_QUOTA_H_
#define STREAMNORM_SERVER_QUOTA_H_

#include <atomic>
#include <cstdint>
#include <limits>

namespace streamnorm {

// How much of something all clients may have together. Safe for concurrent use.
class Quota {
 public:
  explicit Quota(uint64_t limit = std::numeric_limits<uint64_t>::max())
      : limit_(limit) {}

  // False, and nothing taken, if that were more than the limit.
  bool TryTake(uint64_t amount) {
    uint64_t used = used_.load();
    do {
      if (used >= limit_ || amount > limit_ - used) return false;
    } while (!used_.compare_exchange_weak(used, used + amount));
    return true;
  }

  // For what the store remembers; no limit applies.
  void TakeAnyway(uint64_t amount) { used_.fetch_add(amount); }

  // REQUIRES: so much was taken.
  void Release(uint64_t amount) { used_.fetch_sub(amount); }

  uint64_t used() const { return used_.load(); }
  uint64_t limit() const { return limit_; }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> used_{0};
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_QUOTA_H_
