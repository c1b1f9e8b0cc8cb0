#ifndef STREAMNORM_STORAGE_ROCKSDB_OFFLINE_H_
#define STREAMNORM_STORAGE_ROCKSDB_OFFLINE_H_

#include <string>

#include "absl/status/statusor.h"
#include "storage/maintenance.h"

namespace streamnorm {

// What is done with a data directory or a backup that no server has open.
//
// Errors of both: kUnavailable = another process has one of the directories
// open; kFailedPrecondition = it is something else, or a newer version wrote
// it; kNotFound = there is none.

// Looks for all that Load would complain about, and reads every block of every
// table; of a backup, also that it has what was put into it. Changes no byte,
// and works where nothing may be changed. kDataLoss: too damaged to be opened.
absl::StatusOr<VerifyReport> VerifyDataDirectory(
    const std::string& path, const OnStoreProgress& on_progress);

// Makes a data directory of a backup: the same records, under a new history_id,
// so that clients that are ahead of it are told. `data_dir` is absent or empty,
// and is so again after an error. A crash leaves what no server opens. Nothing
// is shared with the backup. kDataLoss: the backup is damaged;
// kResourceExhausted: too little space.
absl::StatusOr<BackupSummary> RestoreBackup(const std::string& backup,
                                            const std::string& data_dir,
                                            const OnStoreProgress& on_progress);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_ROCKSDB_OFFLINE_H_
