#ifndef STREAMNORM_SERVER_SESSIONS_H_
#define STREAMNORM_SERVER_SESSIONS_H_

#include <atomic>
#include <bitset>
#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/clock.h"
#include "server/commit_queue.h"
#include "server/mutex.h"
#include "server/quota.h"
#include "storage/records.h"

namespace streamnorm {

// Names an update, so that it counts once however often it is sent.
struct UpdateId {
  SessionId session;
  uint64_t epoch = 0;
  uint64_t sequence = 0;    // >= 1
  uint64_t generation = 0;  // 0 only with sequence 1
};

// Which sequence numbers of one session one normalizer counted: everything up
// to applied_sequence(), and a bitmap of what lies ahead of it.
// Not thread safe: guarded by the lock of its normalizer.
class Ledger {
 public:
  Ledger() = default;
  explicit Ledger(const LedgerRecord& record);

  enum class Verdict { kNew, kCounted, kOutOfWindow };
  Verdict Check(uint64_t sequence) const;

  // True if `sequence` was counted in `epoch` with another payload. Known for
  // the last kSequenceWindow sequences since this process counted them.
  bool Conflicts(uint64_t sequence, uint64_t epoch, uint32_t fingerprint) const;

  // Counts `sequence`. REQUIRES: Check(sequence) == kNew, fingerprint != 0.
  void Count(uint64_t sequence, uint64_t epoch, uint32_t fingerprint,
             uint64_t rows);

  // The present generation ended: its rows are gone, the sequences are not.
  void ForgetRows() { rows_ = 0; }

  // True if exactly the sequences up to `sequence` are used up: then rows() is
  // what a client that knows the answers to all of them has counted.
  bool EndsAt(uint64_t sequence) const {
    return applied_sequence_ == sequence && window_.none();
  }

  LedgerRecord ToRecord(const std::string& normalizer_id,
                        const SessionId& session) const;

  uint64_t applied_sequence() const { return applied_sequence_; }
  const std::bitset<kSequenceWindow>& window() const { return window_; }
  uint64_t rows() const { return rows_; }

  // Every sequence up to here is on disk.
  uint64_t durable_sequence() const { return durable_sequence_; }
  void PublishDurable(uint64_t sequence);

 private:
  uint64_t applied_sequence_ = 0;
  std::bitset<kSequenceWindow> window_;  // as LedgerRecord::window
  uint64_t rows_ = 0;
  uint64_t durable_sequence_ = 0;

  // Ring by sequence % size; 0 = not known. Of one epoch: a job restarted from
  // its checkpoint may send other rows under the sequences it repeats.
  std::vector<uint32_t> fingerprints_;
  uint64_t fingerprint_epoch_ = 0;
};

// What the sessions of one server have in common.
struct SessionEnvironment {
  MonotonicClock now = &std::chrono::steady_clock::now;
  // Of all sessions together: what a client's memory here grows by.
  Quota ledgers;
};

// A client's series of updates. Safe for concurrent use.
//
// It ends once: closed by its client, or expired. From then on every use is
// refused, and once that is on disk its ledgers can be taken away one by one.
class Session {
 public:
  explicit Session(const SessionRecord& record,
                   std::shared_ptr<SessionEnvironment> environment =
                       std::make_shared<SessionEnvironment>());

  const SessionId& id() const { return id_; }
  const std::string& client() const { return client_; }

  // Another session of the same name and epoch, without ledgers: for a trial.
  std::shared_ptr<Session> Copy() const;

  // OK, and the session counts as used now. FAILED_PRECONDITION if it ended,
  // ABORTED if `epoch` is another one. For an update, call it under the lock
  // of the normalizer: RaiseEpoch and End come before the ledgers are read or
  // dropped.
  absl::Status Use(uint64_t epoch);

  // Takes the session over and enters its record in `queue`; returns the
  // record. FAILED_PRECONDITION if it ended.
  absl::StatusOr<SessionRecord> RaiseEpoch(CommitQueue* queue);

  // Ends it and enters that in `queue`. Errors as of Use.
  absl::Status End(uint64_t epoch, CommitQueue* queue);

  // Likewise if it was not used for `timeout`; false if it was, or had ended.
  bool EndIfIdle(std::chrono::seconds timeout, CommitQueue* queue);
  bool IdleFor(std::chrono::seconds timeout) const;

  // Notes that `normalizer_id` gets a ledger of this session, before it does.
  // Errors as of Use, and RESOURCE_EXHAUSTED: then it must not.
  absl::Status AddLedger(const std::string& normalizer_id, uint64_t epoch);
  void RestoreLedger(const std::string& normalizer_id);
  void RemoveLedger(const std::string& normalizer_id);

  // Those with a ledger of this session.
  std::vector<std::string> normalizers() const;

  SessionRecord ToRecord() const;

 private:
  absl::Status CheckEpoch(uint64_t epoch) const;
  void Touch();
  void EndLocked(CommitQueue* queue) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<SessionEnvironment> environment_;
  const SessionId id_;
  const std::string client_;
  const int64_t create_time_us_;
  std::atomic<uint64_t> epoch_;
  std::atomic<std::chrono::steady_clock::rep> last_use_;
  mutable Mutex mu_;
  std::set<std::string> normalizers_ ABSL_GUARDED_BY(mu_);
};

// The record of a session that ended has this epoch until its ledgers are gone.
// No client's is ever this.
inline constexpr uint64_t kEndedEpoch = std::numeric_limits<uint64_t>::max();

// All living sessions. Safe for concurrent use.
class SessionTable {
 public:
  struct Options {
    uint64_t max_sessions = 0;
    uint64_t max_ledgers = std::numeric_limits<uint64_t>::max();
    MonotonicClock now = &std::chrono::steady_clock::now;
  };
  explicit SessionTable(const Options& options);

  // For what the store remembers; no limit applies. Idle from now on.
  void Restore(const SessionRecord& record);

  // A new session with a random id and epoch 1; its record is entered in
  // `queue` before anyone can end it. RESOURCE_EXHAUSTED.
  absl::StatusOr<SessionRecord> Open(const std::string& client,
                                     CommitQueue* queue);

  // FAILED_PRECONDITION if there is none.
  absl::StatusOr<std::shared_ptr<Session>> Find(const SessionId& id) const;

  // Up to `at_most` that were not used for `timeout`.
  std::vector<std::shared_ptr<Session>> Idle(std::chrono::seconds timeout,
                                             size_t at_most) const;

  void Remove(const SessionId& id);
  size_t size() const;
  uint64_t ledgers() const { return environment_->ledgers.used(); }

 private:
  const uint64_t max_sessions_;
  const std::shared_ptr<SessionEnvironment> environment_;
  mutable SharedMutex mu_;
  absl::flat_hash_map<SessionId, std::shared_ptr<Session>> sessions_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_SESSIONS_H_
