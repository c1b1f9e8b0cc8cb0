#ifndef STREAMNORM_STORAGE_STATISTICS_STORE_H_
#define STREAMNORM_STORAGE_STATISTICS_STORE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/maintenance.h"
#include "storage/records.h"

namespace streamnorm {

// A normalizer that can't be served because a record of it is damaged or
// contradicts another.
struct QuarantinedNormalizer {
  std::string id;
  std::string reason;
};

// A snapshot that can't be served, while its normalizer can.
struct DamagedSnapshot {
  std::string id;
  std::string reason;
};

// All that a store remembers.
struct StoreContents {
  HistoryId history_id{};
  uint64_t incarnation = 0;  // one more at every open
  uint64_t next_generation = 1;

  struct Normalizer {
    NormalizerDefinition definition;
    NormalizerState state;
    std::vector<LedgerRecord> ledgers;
    std::vector<SharedSnapshot> snapshots;  // in the order of their ids
    std::vector<DamagedSnapshot> damaged_snapshots;
  };
  std::vector<Normalizer> normalizers;  // in the order of their ids
  std::vector<SessionRecord> sessions;
  std::vector<QuarantinedNormalizer> quarantined;
};

// Where statistics and session progress survive. Start here to add a store;
// tests/storage/conformance_suite.h says what it must do.
//
// Write makes a batch visible as a whole or not at all, also after a crash, and
// in the order of the calls. Only Sync makes it durable: after a crash a prefix
// of the written batches is found that has at least everything written before
// the last Sync that returned OK.
//
// Errors: kResourceExhausted = no space left, nothing of the batch was written
// and a later Write may succeed. Any other error of Write or Sync means that
// what was written is unknown: the store is then failed for good and must be
// opened anew by a new process (an fsync is never retried).
//
// Not thread safe: the committer is its only caller. SizeBytes, FreeBytes,
// Backup and Verify may be called from any thread, while it writes too, and
// hold up none of its calls.
class StatisticsStore {
 public:
  virtual ~StatisticsStore() = default;

  // "rocksdb" or "memory".
  virtual std::string_view kind() const = 0;

  // What was found when the store was opened. All of it is durable. A damaged
  // normalizer is in `quarantined`, its records stay as they are and it is in
  // no other list; damage that reaches further is kDataLoss.
  // To be called once, before the first Write.
  virtual absl::StatusOr<StoreContents> Load() = 0;

  // Applies `batch` atomically. Not durable yet.
  virtual absl::Status Write(const CommitBatch& batch) = 0;

  // Makes every batch written so far durable.
  virtual absl::Status Sync() = 0;

  // Bytes its files take on the disk.
  virtual absl::StatusOr<uint64_t> SizeBytes() const = 0;

  // Bytes the disk has left for this store.
  virtual absl::StatusOr<uint64_t> FreeBytes() const = 0;

  // Writes what the store has into a new directory: every batch whose Write
  // returned before this call, a prefix of the others, no part of one. Either
  // there is a whole backup in the end or none; a crash may leave
  // `options.path`.tmp, which is none. Damaged records are copied as they are.
  //
  // Errors: kAlreadyExists = there is something at `options.path`;
  // kResourceExhausted = too little space; kDataLoss = a block of the store is
  // damaged; kFailedPrecondition = nothing of this store is on a disk; that of
  // `on_progress`. None of them fails the store.
  virtual absl::StatusOr<BackupSummary> Backup(
      const BackupOptions& options,
      const OnStoreProgress& on_progress) const = 0;

  // Reads everything that is on the disk and checks it. Damage is in the
  // report; errors say that it could not be looked for: kFailedPrecondition =
  // nothing of this store is on a disk; that of `on_progress`.
  virtual absl::StatusOr<VerifyReport> Verify(
      const OnStoreProgress& on_progress) const = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_STATISTICS_STORE_H_
