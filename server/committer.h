#ifndef STREAMNORM_SERVER_COMMITTER_H_
#define STREAMNORM_SERVER_COMMITTER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/commit_queue.h"
#include "server/metrics.h"
#include "server/normalizer.h"
#include "storage/statistics_store.h"

namespace streamnorm {

// Writes what changed: one batch for everything, one sync, then the watermarks
// and the waiters (docs/durability.md). No request waits for the disk unless
// it asked to.
//
// One thread of its own; the public functions are safe for concurrent use.
class Committer {
 public:
  struct Options {
    // Longest time from an update to its commit, while the disk keeps up.
    std::chrono::milliseconds commit_interval{10};

    // A commit that took t is followed by a pause of duty_factor * t, unless
    // someone waits for durability: the log gets at most 1 / (duty_factor + 1)
    // of the time.
    int duty_factor = 20;

    // Updates are refused while the disk has less left than this.
    uint64_t min_free_disk_bytes = 0;

    // No thread of its own: commits happen in CommitNow only, and what is not
    // committed is lost. For a simulation.
    bool by_hand = false;
  };

  // Called once, from the committer's thread, when the store failed for good:
  // only a new process can tell what it holds.
  using OnFailure = std::function<void(const absl::Status&)>;

  // `store` and `queue` outlive it. Starts its thread.
  Committer(const Options& options, StatisticsStore* store, CommitQueue* queue,
            OnFailure on_failure);

  // Commits what is left, if the disk has room for it, then ends the thread.
  // Nothing may be added to the queue any more.
  ~Committer();

  // From now on a batch that finds no room is given up, and with it all that
  // comes later; whoever waits for it is told so. Before that nobody is, as
  // long as the disk is full.
  void StopWaitingForRoom() { stopping_ = true; }

  // Commits what there is. REQUIRES: options.by_hand; one thread at a time.
  void CommitNow() { Commit(queue_->Take()); }

  // OK, or why updates are refused now: disk full, store failed.
  absl::Status AcceptingUpdates() const;

  // Age of the oldest change that no watermark covers yet; 0 if there is none.
  // Grows while the disk is full or does not answer.
  std::chrono::nanoseconds lag() const;

  bool out_of_space() const { return health_.load() == Health::kDiskFull; }
  bool failed() const { return health_.load() == Health::kFailed; }

  // Of commits, and of their syncs alone.
  const LatencyHistogram& commit_latency() const { return commit_latency_; }
  const LatencyHistogram& sync_latency() const { return sync_latency_; }

  uint64_t commits() const { return commits_.load(); }
  std::chrono::microseconds last_commit_duration() const {
    return std::chrono::microseconds(last_commit_us_.load());
  }

 private:
  enum class Health { kGood, kDiskFull, kFailed };
  using Published = std::vector<
      std::pair<std::shared_ptr<Normalizer>, Normalizer::Watermarks>>;

  void Run();

  // Returns how long the disk took; time without room on it does not count.
  std::chrono::steady_clock::duration Commit(CommitQueue::Changes changes);
  absl::Status Sync();
  absl::Status WriteWhenThereIsRoom(
      const CommitBatch& batch, std::chrono::steady_clock::duration* waited);
  void CheckDisk();
  void Fail(const absl::Status& status);

  const Options options_;
  StatisticsStore* const store_;
  CommitQueue* const queue_;
  const OnFailure on_failure_;
  std::atomic<Health> health_{Health::kGood};
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> commits_{0};
  std::atomic<int64_t> last_commit_us_{0};
  // Of the oldest change in the commit that runs; kNoCommit = none does.
  static constexpr auto kNoCommit =
      std::chrono::steady_clock::time_point::max();
  std::atomic<std::chrono::steady_clock::time_point> committing_since_{
      kNoCommit};
  LatencyHistogram commit_latency_;
  LatencyHistogram sync_latency_;
  std::thread thread_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_COMMITTER_H_
