#ifndef STREAMNORM_STORAGE_ROCKSDB_STORE_H_
#define STREAMNORM_STORAGE_ROCKSDB_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "storage/statistics_store.h"

namespace streamnorm {

struct RocksdbStoreOptions {
  // Created if absent. Holds db/ and FLOOR.
  std::string data_dir;

  // Open although the database is older than what was promised to clients
  // (FLOOR) or parts of it are gone; the store gets a new history_id.
  bool accept_data_loss = false;

  // Log that is written before RocksDB flushes: bounds start-up time.
  uint64_t max_total_wal_bytes = uint64_t{64} << 20;
};

// Errors: kFailedPrecondition = written by a newer version, or data_dir holds
// something else; kUnavailable = another process has it open; kDataLoss =
// damaged, or recovered below FLOOR; others as RocksDB says.
absl::StatusOr<std::unique_ptr<StatisticsStore>> OpenRocksdbStore(
    const RocksdbStoreOptions& options);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_ROCKSDB_STORE_H_
