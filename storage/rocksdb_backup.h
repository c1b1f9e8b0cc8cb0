#ifndef STREAMNORM_STORAGE_ROCKSDB_BACKUP_H_
#define STREAMNORM_STORAGE_ROCKSDB_BACKUP_H_

#include "absl/status/statusor.h"
#include "storage/maintenance.h"

namespace rocksdb {
class DB;
}  // namespace rocksdb

namespace streamnorm {

// StatisticsStore::Backup of an open database.
absl::StatusOr<BackupSummary> WriteBackup(rocksdb::DB* db,
                                          const BackupOptions& options,
                                          const OnStoreProgress& on_progress);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_ROCKSDB_BACKUP_H_
