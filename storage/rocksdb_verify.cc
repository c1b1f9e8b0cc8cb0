#include <rocksdb/db.h>

#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "storage/backup_file.h"
#include "storage/data_directory.h"
#include "storage/floor_file.h"
#include "storage/key_codec.h"
#include "storage/rocksdb_offline.h"
#include "storage/rocksdb_recovery.h"
#include "storage/rocksdb_scan.h"
#include "storage/rocksdb_support.h"
#include "storage/value_format.h"

namespace streamnorm {
namespace {

constexpr uint64_t kLogBytes = uint64_t{64} << 20;

// A damaged file BACKUP is damage; none at all is a data directory.
absl::StatusOr<std::optional<BackupFile>> FindBackupFile(
    const DataDirectory& directory, VerifyReport* report) {
  const absl::StatusOr<BackupFile> file =
      ReadBackupFile(directory.backup_path());
  if (file.ok()) return *file;
  if (absl::IsDataLoss(file.status())) {
    report->Add({"", std::string(file.status().message())});
    return std::nullopt;
  }
  if (!absl::IsNotFound(file.status())) return file.status();
  return std::nullopt;
}

absl::StatusOr<uint64_t> DigestOf(rocksdb::DB* db) {
  uint64_t digest = 0;
  ProgressMeter progress(0, nullptr);
  absl::Status status =
      ScanRecords(db, CheckedRead(), &progress, [&](auto key, auto value) {
        if (key.empty() || key.front() != static_cast<char>(KeyKind::kMeta)) {
          digest = ChainedChecksum(digest, key, value);
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return digest;
}

// Only where nothing else is wrong: else it can't be right.
absl::Status VerifyDigest(const BackupFile& file, rocksdb::DB* db,
                          VerifyReport* report) {
  if (!report->clean()) return absl::OkStatus();
  const absl::StatusOr<uint64_t> digest = DigestOf(db);
  if (!digest.ok()) return digest.status();
  if (*digest == file.digest) return absl::OkStatus();
  report->Add({"", absl::StrCat("records: ", report->records,
                                ", others than the ", file.summary.records,
                                " that were put into the backup")});
  return absl::OkStatus();
}

absl::Status CheckContents(const DataDirectory& directory) {
  const absl::StatusOr<std::set<std::string>> names = NamesIn(directory.path());
  if (!names.ok()) return names.status();
  if (names->contains("RESTORING")) {
    return absl::FailedPreconditionError(absl::StrCat(
        directory.path(),
        ": holds a restore that was cut short: remove it and restore again"));
  }
  if (names->contains("FLOOR") || names->contains("db")) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(directory.path(),
                   ": neither FLOOR nor db/ in it, want a "
                   "data directory or a backup"));
}

}  // namespace

absl::StatusOr<VerifyReport> VerifyDataDirectory(
    const std::string& path, const OnStoreProgress& on_progress) {
  const absl::StatusOr<DataDirectory> directory =
      DataDirectory::OpenExisting(path);
  if (!directory.ok()) return directory.status();
  absl::Status status = CheckContents(*directory);
  if (!status.ok()) return status;
  VerifyReport report;
  const absl::StatusOr<std::optional<BackupFile>> backup =
      FindBackupFile(*directory, &report);
  if (!backup.ok()) return backup.status();
  const rocksdb::Options options =
      DatabaseOptions(kLogBytes, std::make_shared<BackgroundErrors>());
  const absl::StatusOr<Found> found =
      Look(*directory, options, FloorAccess::kRead);
  if (!found.ok()) return found.status();
  const std::string loss = FindLoss(*found);
  if (!loss.empty()) report.Add({"", loss});
  if (!found->has_database || found->IsUnpromised()) return report;
  const absl::StatusOr<std::unique_ptr<rocksdb::DB>> db =
      OpenDatabaseReadOnly(directory->database_path(), options);
  if (!db.ok()) return db.status();
  status = VerifyDatabase(db->get(), on_progress, &report);
  if (status.ok() && *backup) {
    status = VerifyDigest(**backup, db->get(), &report);
  }
  if (!status.ok()) return status;
  return report;
}

}  // namespace streamnorm
