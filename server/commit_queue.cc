#include "server/commit_queue.h"

#include <utility>

#include "server/normalizer.h"

namespace streamnorm {

void CommitQueue::Note() {
  if (!changes_.since) changes_.since = std::chrono::steady_clock::now();
}

std::optional<std::chrono::steady_clock::time_point>
CommitQueue::waiting_since() const {
  MutexLock lock(&mu_);
  return changes_.since;
}

void CommitQueue::AddNormalizer(std::shared_ptr<Normalizer> normalizer) {
  MutexLock lock(&mu_);
  Note();
  changes_.normalizers.push_back(std::move(normalizer));
}

void CommitQueue::AddSession(SessionRecord record) {
  MutexLock lock(&mu_);
  Note();
  changes_.batch.sessions.push_back(std::move(record));
}

void CommitQueue::DeleteNormalizer(std::string id) {
  MutexLock lock(&mu_);
  Note();
  changes_.batch.deleted_normalizers.push_back(std::move(id));
}

void CommitQueue::DeleteSession(SessionId id) {
  MutexLock lock(&mu_);
  Note();
  // A record of it that waits for the same commit would outlive it.
  auto& sessions = changes_.batch.sessions;
  std::erase_if(sessions,
                [&](const SessionRecord& record) { return record.id == id; });
  changes_.batch.deleted_sessions.push_back(id);
}

void CommitQueue::SetNextGeneration(uint64_t next) {
  MutexLock lock(&mu_);
  Note();
  changes_.batch.next_generation = next;
}

void CommitQueue::WhenDurable(Done done) {
  absl::Status closed;
  {
    MutexLock lock(&mu_);
    if (!changes_.closed) {
      changes_.waiters.push_back(std::move(done));
      changed_.notify_one();
      return;
    }
    closed = closed_status_;
  }
  done(closed);
}

bool CommitQueue::WaitUntilUrgent(std::chrono::steady_clock::time_point until) {
  MutexLock lock(&mu_);
  std::unique_lock<std::mutex> native(mu_.native(), std::adopt_lock);
  while (changes_.waiters.empty() && !changes_.closed &&
         changed_.wait_until(native, until) != std::cv_status::timeout) {
  }
  native.release();  // stays locked until `lock` ends
  return !changes_.waiters.empty() || changes_.closed;
}

CommitQueue::Changes CommitQueue::Take() {
  MutexLock lock(&mu_);
  Changes taken = std::move(changes_);
  changes_ = Changes();
  changes_.closed = taken.closed;
  return taken;
}

void CommitQueue::Close(absl::Status status) {
  MutexLock lock(&mu_);
  changes_.closed = true;
  closed_status_ = std::move(status);
  changed_.notify_one();
}

}  // namespace streamnorm
