#ifndef STREAMNORM_STORAGE_MAINTENANCE_H_
#define STREAMNORM_STORAGE_MAINTENANCE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "storage/records.h"

namespace streamnorm {

// How far a backup or a verification is.
struct StoreProgress {
  uint64_t bytes = 0;
  uint64_t total_bytes = 0;  // an estimate
  uint64_t records = 0;
};

// Called at the beginning and after every MiB, on the thread that does the
// work; an error ends the work with it.
using OnStoreProgress = std::function<absl::Status(const StoreProgress&)>;

struct BackupOptions {
  std::string path;  // must not exist; what is above it must

  // The disk of `path` keeps at least this much.
  uint64_t min_free_bytes = 0;
};

// What a backup has in it, or a restored store.
struct BackupSummary {
  HistoryId history_id{};
  int64_t create_time_us = 0;
  uint64_t sequence = 0;  // RocksDB's of the store at that moment
  uint64_t records = 0;   // without the store's own
  uint64_t normalizers = 0;
  uint64_t sessions = 0;
  uint64_t bytes = 0;  // on disk

  bool operator==(const BackupSummary&) const = default;
};

// A record that is damaged or contradicts others, or a file that is damaged.
struct DamagedRecord {
  std::string normalizer_id;  // empty where it is none's alone
  std::string problem;

  bool operator==(const DamagedRecord&) const = default;
};

// What a verification looked at and found.
struct VerifyReport {
  // More are counted, but not listed: a damaged disk can hit all of a million.
  static constexpr size_t kMaxListed = 1000;

  uint64_t tables = 0;
  uint64_t table_bytes = 0;
  uint64_t records = 0;
  uint64_t normalizers = 0;
  uint64_t sessions = 0;
  uint64_t ledgers = 0;
  uint64_t damaged_count = 0;
  std::vector<DamagedRecord> damaged;

  bool clean() const { return damaged_count == 0; }
  void Add(DamagedRecord record);
};

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_MAINTENANCE_H_
