#ifndef STREAMNORM_STORAGE_BACKUP_FILE_H_
#define STREAMNORM_STORAGE_BACKUP_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/maintenance.h"

namespace streamnorm {

// The file BACKUP (docs/storage_format.md): it makes a directory a backup,
// which no server opens, and says what has to be in it.
struct BackupFile {
  BackupSummary summary;  // without bytes
  uint64_t digest = 0;    // ChainedChecksum of all records but the store's own
};

// kNotFound: there is none; kDataLoss: damaged; kFailedPrecondition: a newer
// version wrote it.
absl::StatusOr<BackupFile> ReadBackupFile(const std::string& path);

// Durable, but for its name, when it returns OK.
absl::Status WriteBackupFile(const std::string& path, const BackupFile& file);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_BACKUP_FILE_H_
