#include <fcntl.h>
#include <rocksdb/db.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/backup_file.h"
#include "storage/data_directory.h"
#include "storage/floor_file.h"
#include "storage/kill_point.h"
#include "storage/posix_file.h"
#include "storage/rocksdb_copy.h"
#include "storage/rocksdb_offline.h"
#include "storage/rocksdb_recovery.h"
#include "storage/rocksdb_support.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLogBytes = uint64_t{1} << 20;

struct OpenBackup {
  DataDirectory directory;
  BackupFile file;
  std::unique_ptr<rocksdb::DB> db;
};

absl::Status Damaged(const std::string& backup, absl::string_view problem) {
  return absl::DataLossError(absl::StrCat(
      backup, ": ", problem, ": the backup is damaged, take another one"));
}

absl::StatusOr<OpenBackup> OpenTheBackup(const std::string& path) {
  absl::StatusOr<DataDirectory> directory = DataDirectory::OpenExisting(path);
  if (!directory.ok()) return directory.status();
  absl::StatusOr<BackupFile> file = ReadBackupFile(directory->backup_path());
  if (absl::IsNotFound(file.status())) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": no file BACKUP in it, want a backup that CreateBackup made"));
  }
  if (!file.ok()) return file.status();
  const rocksdb::Options options =
      DatabaseOptions(kLogBytes, std::make_shared<BackgroundErrors>());
  absl::StatusOr<Found> found = Look(*directory, options, FloorAccess::kRead);
  if (!found.ok()) return found.status();
  if (!found->floor) return Damaged(path, "FLOOR: missing or damaged");
  const std::string loss = FindLoss(*found);
  if (!loss.empty()) return Damaged(path, loss);
  auto db = OpenDatabaseReadOnly(directory->database_path(), options);
  if (!db.ok()) return db.status();
  return OpenBackup{*std::move(directory), *std::move(file), *std::move(db)};
}

absl::StatusOr<DataDirectory> OpenEmpty(const std::string& path) {
  absl::Status status = CreateDirectory(path);
  if (!status.ok()) return status;
  absl::StatusOr<DataDirectory> directory = DataDirectory::OpenExisting(path);
  if (!directory.ok()) return directory.status();
  const absl::StatusOr<std::set<std::string>> names = NamesIn(path);
  if (!names.ok()) return names.status();
  if (names->contains("RESTORING")) {
    return absl::FailedPreconditionError(absl::StrCat(
        path,
        ": holds a restore that was cut short: remove it and restore again"));
  }
  for (const std::string& name : *names) {
    if (name == "lost+found") continue;  // of every fresh ext4 file system
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": holds ", name, ", want a directory that is empty or absent"));
  }
  return directory;
}

absl::Status MarkAsRestoring(const DataDirectory& directory) {
  const absl::StatusOr<FileDescriptor> file =
      OpenFile(directory.restoring_path(), O_WRONLY | O_CREAT | O_EXCL,
               S_IRUSR | S_IWUSR);
  if (!file.ok()) return file.status();
  return SyncDirectory(directory.path());
}

void Empty(const DataDirectory& directory) {
  const absl::StatusOr<std::set<std::string>> names = NamesIn(directory.path());
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (name == "lost+found") continue;
    std::error_code ignored;
    fs::remove_all(absl::StrCat(directory.path(), "/", name), ignored);
  }
}

absl::Status CheckComplete(const OpenBackup& backup, const BackupFile& copied) {
  const std::string& path = backup.directory.path();
  const uint64_t want = backup.file.summary.records;
  if (copied.summary.records != want) {
    return Damaged(path, absl::StrCat("records: ", copied.summary.records,
                                      ", want ", want));
  }
  if (copied.digest == backup.file.digest) return absl::OkStatus();
  return Damaged(path, "records: others than were put into it");
}

// Updates that came after the backup may have been born in later generations.
StoreMeta NewHistory(StoreMeta meta) {
  meta.history_id = NewHistoryId();
  meta.next_generation += kGenerationGap;
  return meta;
}

absl::StatusOr<BackupSummary> Fill(const OpenBackup& backup,
                                   const DataDirectory& directory,
                                   const OnStoreProgress& on_progress) {
  const absl::StatusOr<DatabaseCopy> copy = CopyDatabase(
      backup.db.get(), directory.path(), /*min_free_bytes=*/0, on_progress);
  if (!copy.ok()) return copy.status();
  STREAMNORM_KILL_POINT("restore.records_copied");
  absl::Status status = CheckComplete(backup, copy->contents);
  if (!status.ok()) return status;
  const StoreMeta meta = NewHistory(copy->meta);
  const absl::StatusOr<uint64_t> sequence = FinishCopy(meta, directory.path());
  if (!sequence.ok()) return sequence.status();
  STREAMNORM_KILL_POINT("restore.copy_synced");
  const absl::StatusOr<FloorFile> floor =
      FloorFile::Create(directory.floor_path(), {meta.history_id, *sequence});
  if (!floor.ok()) return floor.status();
  BackupSummary summary = backup.file.summary;
  summary.history_id = meta.history_id;
  return summary;
}

absl::Status Publish(const DataDirectory& directory) {
  STREAMNORM_KILL_POINT("restore.whole");
  if (unlink(directory.restoring_path().c_str()) != 0) {
    return LastError(directory.restoring_path(), "unlink");
  }
  STREAMNORM_KILL_POINT("restore.unmarked");
  return SyncDirectory(directory.path());
}

}  // namespace

absl::StatusOr<BackupSummary> RestoreBackup(
    const std::string& backup, const std::string& data_dir,
    const OnStoreProgress& on_progress) {
  const absl::StatusOr<OpenBackup> opened = OpenTheBackup(backup);
  if (!opened.ok()) return opened.status();
  const absl::StatusOr<DataDirectory> directory = OpenEmpty(data_dir);
  if (!directory.ok()) return directory.status();
  absl::Status status = MarkAsRestoring(*directory);
  if (!status.ok()) return status;
  STREAMNORM_KILL_POINT("restore.marked");
  absl::StatusOr<BackupSummary> summary =
      Fill(*opened, *directory, on_progress);
  status = summary.ok() ? Publish(*directory) : summary.status();
  if (status.ok()) return summary;
  Empty(*directory);
  return status;
}

}  // namespace streamnorm
