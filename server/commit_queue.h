#ifndef STREAMNORM_SERVER_COMMIT_QUEUE_H_
#define STREAMNORM_SERVER_COMMIT_QUEUE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/mutex.h"
#include "storage/records.h"

namespace streamnorm {

class Normalizer;

// What changed since the committer last looked, and who waits for it to be on
// disk. Safe for concurrent use; its lock is the last one taken, so everyone
// may call it under a lock of their own. They must: a change and its entry here
// have to be one step, or a waiter would be told too early.
class CommitQueue {
 public:
  using Done = std::function<void(absl::Status)>;

  void AddNormalizer(std::shared_ptr<Normalizer> normalizer);
  void AddSession(SessionRecord record);
  void DeleteNormalizer(std::string id);
  void DeleteSession(SessionId id);
  void SetNextGeneration(uint64_t next);

  // Calls `done` once everything entered before this call is on disk, or with
  // the reason why it never will be. On the committer's thread, or at once
  // when the queue is closed: must not block.
  void WhenDurable(Done done);

  // What one commit takes along.
  struct Changes {
    std::vector<std::shared_ptr<Normalizer>> normalizers;
    CommitBatch batch;  // deletions, sessions, next_generation
    std::vector<Done> waiters;
    std::optional<std::chrono::steady_clock::time_point> since;
    bool closed = false;
  };

  // Waits until someone waits for durability or the queue is closed; false if
  // neither happened before `until`.
  bool WaitUntilUrgent(std::chrono::steady_clock::time_point until);

  // Since when something waits to be taken; nothing if nothing does.
  std::optional<std::chrono::steady_clock::time_point> waiting_since() const;

  // Takes everything.
  Changes Take();

  // From now on waiters are told `status` at once.
  void Close(absl::Status status);

 private:
  // Something changed.
  void Note() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  std::condition_variable changed_;
  Changes changes_ ABSL_GUARDED_BY(mu_);
  absl::Status closed_status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_COMMIT_QUEUE_H_
