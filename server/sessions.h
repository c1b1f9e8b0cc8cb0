#ifndef STREAMNORM_SERVER_SESSIONS_H_
#define STREAMNORM_SERVER_SESSIONS_H_

#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "server/mutex.h"
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

// A client's series of updates. Safe for concurrent use.
class Session {
 public:
  explicit Session(const SessionRecord& record);

  const SessionId& id() const { return id_; }

  // An update of another epoch is refused. Read it under the lock of the
  // normalizer to be updated: Resume raises it before it reads the ledgers.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }

  // Takes the session over; returns what to store. FAILED_PRECONDITION if it
  // was fenced.
  absl::StatusOr<SessionRecord> RaiseEpoch();

  // No update is accepted any more.
  void Fence();

  // Notes that `normalizer_id` has a ledger of this session, or is about to.
  // False if `epoch` is over: then it must not.
  bool AddNormalizer(const std::string& normalizer_id, uint64_t epoch);
  std::vector<std::string> normalizers() const;

  SessionRecord ToRecord() const;

 private:
  const SessionId id_;
  const std::string client_;
  const int64_t create_time_us_;
  std::atomic<uint64_t> epoch_;
  mutable Mutex mu_;
  std::set<std::string> normalizers_ ABSL_GUARDED_BY(mu_);
};

// All living sessions. Safe for concurrent use.
class SessionTable {
 public:
  explicit SessionTable(uint64_t max_sessions) : max_sessions_(max_sessions) {}

  // For what the store remembers; no limit applies.
  std::shared_ptr<Session> Restore(const SessionRecord& record);

  // A new session with a random id and epoch 1. RESOURCE_EXHAUSTED.
  absl::StatusOr<std::shared_ptr<Session>> Open(const std::string& client);

  // FAILED_PRECONDITION if there is none.
  absl::StatusOr<std::shared_ptr<Session>> Find(const SessionId& id) const;

  void Remove(const SessionId& id);
  size_t size() const;

 private:
  const uint64_t max_sessions_;
  mutable SharedMutex mu_;
  absl::flat_hash_map<SessionId, std::shared_ptr<Session>> sessions_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_SESSIONS_H_
