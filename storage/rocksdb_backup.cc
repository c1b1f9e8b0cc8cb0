#include "storage/rocksdb_backup.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/backup_file.h"
#include "storage/data_directory.h"
#include "storage/floor_file.h"
#include "storage/kill_point.h"
#include "storage/posix_file.h"
#include "storage/rocksdb_copy.h"
#include "storage/rocksdb_recovery.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

int64_t NowMicros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? absl::ErrnoToStatus(error.value(), path) : absl::OkStatus();
}

// An empty draft, locked. One that a crash left is removed first, but not one
// that another process is writing.
absl::StatusOr<DataDirectory> BeginDraft(const std::string& path) {
  absl::Status status;
  {
    const absl::StatusOr<DataDirectory> left =
        DataDirectory::OpenExisting(path);
    if (left.ok()) {
      status = RemoveAll(path);
    } else if (!absl::IsNotFound(left.status())) {
      status = left.status();
    }
  }
  if (status.ok()) status = CreateDirectory(path);
  if (!status.ok()) return status;
  return DataDirectory::OpenExisting(path);
}

absl::StatusOr<uint64_t> SizeOf(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(path, error), end;
       !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error) && !error) bytes += it->file_size(error);
  }
  if (error) return absl::ErrnoToStatus(error.value(), path);
  return bytes;
}

// FLOOR comes last: without it nothing opens the draft.
absl::StatusOr<BackupSummary> FillDraft(const DataDirectory& draft,
                                        rocksdb::DB* db,
                                        uint64_t min_free_bytes,
                                        const OnStoreProgress& on_progress) {
  absl::StatusOr<DatabaseCopy> copy =
      CopyDatabase(db, draft.path(), min_free_bytes, on_progress);
  if (!copy.ok()) return copy.status();
  STREAMNORM_KILL_POINT("backup.records_copied");
  const absl::StatusOr<uint64_t> sequence =
      FinishCopy(copy->meta, draft.path());
  if (!sequence.ok()) return sequence.status();
  BackupSummary& summary = copy->contents.summary;
  summary.history_id = copy->meta.history_id;
  summary.create_time_us = NowMicros();
  absl::Status status = WriteBackupFile(draft.backup_path(), copy->contents);
  if (!status.ok()) return status;
  STREAMNORM_KILL_POINT("backup.contents_noted");
  const absl::StatusOr<FloorFile> floor =
      FloorFile::Create(draft.floor_path(), {copy->meta.history_id, *sequence});
  if (!floor.ok()) return floor.status();
  const absl::StatusOr<uint64_t> bytes = SizeOf(draft.path());
  if (!bytes.ok()) return bytes.status();
  summary.bytes = *bytes;
  return summary;
}

absl::Status CheckAbsent(const std::string& path) {
  std::error_code error;
  const bool exists = fs::exists(fs::symlink_status(path, error));
  if (error && error != std::errc::no_such_file_or_directory) {
    return absl::ErrnoToStatus(error.value(), path);
  }
  if (!exists) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat(path, ": exists, want a name that is free"));
}

absl::Status Publish(const std::string& draft, const std::string& path) {
  absl::Status status = CheckAbsent(path);
  if (!status.ok()) return status;
  STREAMNORM_KILL_POINT("backup.drafted");
  if (std::rename(draft.c_str(), path.c_str()) != 0) {
    return LastError(draft, "rename");
  }
  STREAMNORM_KILL_POINT("backup.named");
#ifdef STREAMNORM_PLANT_BACKUP_NAME_UNSYNCED
  return status;
#endif
  status = SyncDirectory(fs::path(path).parent_path());
  // Its name may not last: what is told to have failed is not there.
  if (!status.ok()) static_cast<void>(RemoveAll(path));
  return status;
}

}  // namespace

absl::StatusOr<BackupSummary> WriteBackup(rocksdb::DB* db,
                                          const BackupOptions& options,
                                          const OnStoreProgress& on_progress) {
  absl::Status status = CheckAbsent(options.path);
  if (!status.ok()) return status;
  const std::string path = options.path + ".tmp";
  const absl::StatusOr<DataDirectory> draft = BeginDraft(path);
  if (!draft.ok()) return draft.status();
  STREAMNORM_KILL_POINT("backup.begun");
  absl::StatusOr<BackupSummary> summary =
      FillDraft(*draft, db, options.min_free_bytes, on_progress);
  status = summary.ok() ? Publish(path, options.path) : summary.status();
  STREAMNORM_KILL_POINT("backup.durable");
  if (status.ok()) return summary;
  // Best effort: what is left is in the way of nothing.
  static_cast<void>(RemoveAll(path));
  return status;
}

}  // namespace streamnorm
