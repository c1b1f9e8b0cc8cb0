#include "storage/backup_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <span>

#include "absl/strings/str_cat.h"
#include "storage/posix_file.h"
#include "storage/value_format.h"

namespace streamnorm {
namespace {

constexpr uint32_t kBackupVersion = 1;
constexpr size_t kSize = 76;  // and one more byte would be too many
constexpr std::string_view kKey = "BACKUP";

std::string EncodeBackup(const BackupFile& file) {
  std::string value;
  ValueWriter writer(kBackupVersion, kSize, &value);
  writer.Number(file.summary.create_time_us);
  writer.Column(std::span<const uint8_t>(file.summary.history_id));
  writer.Number(file.summary.sequence);
  writer.Number(file.summary.records);
  writer.Number(file.summary.normalizers);
  writer.Number(file.summary.sessions);
  writer.Number(file.digest);
  writer.Finish(kKey);
  return value;
}

absl::StatusOr<BackupFile> DecodeBackup(std::string_view value) {
  ValueReader reader(kKey, kBackupVersion, value);
  BackupFile file;
  file.summary.create_time_us = reader.Number<int64_t>("create_time");
  reader.Column("history_id", std::span<uint8_t>(file.summary.history_id));
  file.summary.sequence = reader.Number<uint64_t>("sequence");
  file.summary.records = reader.Number<uint64_t>("records");
  file.summary.normalizers = reader.Number<uint64_t>("normalizers");
  file.summary.sessions = reader.Number<uint64_t>("sessions");
  file.digest = reader.Number<uint64_t>("digest");
  absl::Status status = reader.Finish();
  if (!status.ok()) return status;
  return file;
}

}  // namespace

absl::StatusOr<BackupFile> ReadBackupFile(const std::string& path) {
  const absl::StatusOr<FileDescriptor> opened = OpenFile(path, O_RDONLY);
  if (!opened.ok()) return opened.status();
  const absl::StatusOr<std::string> bytes = ReadStart(*opened, path, kSize + 1);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<BackupFile> file = DecodeBackup(*bytes);
  if (file.ok()) return file;
  return absl::Status(file.status().code(),
                      absl::StrCat(path, ": ", file.status().message()));
}

absl::Status WriteBackupFile(const std::string& path, const BackupFile& file) {
  const absl::StatusOr<FileDescriptor> opened =
      OpenFile(path, O_WRONLY | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR);
  if (!opened.ok()) return opened.status();
  absl::Status status = WriteAt(*opened, path, EncodeBackup(file), 0);
  if (!status.ok()) return status;
  return SyncFile(*opened, path);
}

}  // namespace streamnorm
