#ifndef STREAMNORM_STORAGE_ROCKSDB_COPY_H_
#define STREAMNORM_STORAGE_ROCKSDB_COPY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "storage/backup_file.h"
#include "storage/maintenance.h"
#include "storage/rocksdb_recovery.h"

namespace rocksdb {
class DB;
}  // namespace rocksdb

namespace streamnorm {

// What a copy has in it.
struct DatabaseCopy {
  BackupFile contents;  // without history_id and create_time
  StoreMeta meta;       // of the original
};

// Writes all records of `from`, as they were at one moment, into a new database
// in `directory`/db. Damaged records are copied as they are; a damaged block is
// kDataLoss. Other threads may write to `from` meanwhile; nothing is flushed,
// linked or waited for there.
//
// The new database is not complete: FinishCopy writes the store's own records.
// `directory` exists. kResourceExhausted: its disk would have less left than
// `min_free_bytes`.
absl::StatusOr<DatabaseCopy> CopyDatabase(rocksdb::DB* from,
                                          const std::string& directory,
                                          uint64_t min_free_bytes,
                                          const OnStoreProgress& on_progress);

// Adds `meta` and makes everything durable but the name of `directory`. Returns
// what FLOOR may promise.
absl::StatusOr<uint64_t> FinishCopy(const StoreMeta& meta,
                                    const std::string& directory);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_ROCKSDB_COPY_H_
