#include "storage/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "storage/floor_file.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

absl::Status NotADataDirectory(const std::string& path, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(path, ": holds ", why));
}

}  // namespace

absl::StatusOr<std::set<std::string>> NamesIn(const std::string& path) {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    names.insert(it->path().filename());
  }
  if (error) return absl::ErrnoToStatus(error.value(), path);
  return names;
}

absl::StatusOr<DataDirectory> DataDirectory::Open(const std::string& path) {
  absl::Status status = CreateDirectory(path);
  if (!status.ok()) return status;
  absl::StatusOr<DataDirectory> directory = OpenExisting(path);
  if (!directory.ok()) return directory.status();
  status = directory->CheckContents();
  if (!status.ok()) return status;
  return directory;
}

absl::StatusOr<DataDirectory> DataDirectory::OpenExisting(
    const std::string& path) {
  absl::StatusOr<FileDescriptor> opened =
      OpenFile(path, O_RDONLY | O_DIRECTORY);
  if (!opened.ok()) return opened.status();
  DataDirectory directory(*std::move(opened), path);
  absl::Status status = directory.Lock();
  if (!status.ok()) return status;
  return directory;
}

// RocksDB has a lock of its own, but takes it only after what we look at first.
absl::Status DataDirectory::Lock() {
  if (flock(directory_.get(), LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  if (errno == EWOULDBLOCK) {
    return absl::UnavailableError(
        absl::StrCat(path_, ": another process has it open"));
  }
  return LastError(path_, "flock");
}

absl::StatusOr<bool> DataDirectory::HasDatabase() const {
  const absl::StatusOr<std::set<std::string>> names = NamesIn(database_path());
  if (absl::IsNotFound(names.status())) return false;
  if (!names.ok()) return names.status();
  return !names->empty();
}

// FLOOR is made first and db/ never goes, so a directory with neither is only
// ours to fill if it is empty.
absl::Status DataDirectory::CheckContents() const {
  const absl::StatusOr<std::set<std::string>> names = NamesIn(path_);
  if (!names.ok()) return names.status();
  // Two stores would go on under one history.
  if (names->contains("BACKUP")) {
    return NotADataDirectory(
        path_, absl::StrCat("a backup, want a data directory: make one of it "
                            "with --restore_from ",
                            path_, " --data_dir NEW"));
  }
  if (names->contains("RESTORING")) {
    return NotADataDirectory(path_,
                             "a restore that was cut short: remove it and "
                             "restore again");
  }
  if (names->contains("FLOOR") || names->contains("db")) {
    return absl::OkStatus();
  }
  const std::string draft = fs::path(FloorDraftPath(floor_path())).filename();
  for (const std::string& name : *names) {
    // Every fresh ext4 file system has lost+found.
    if (name == draft || name == "lost+found") continue;
    return NotADataDirectory(
        path_,
        absl::StrCat(name,
                     ", want an empty directory or one with FLOOR and db/"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> SizeOfFilesIn(const std::string& path) {
  const auto names = NamesIn(path);
  if (!names.ok()) return names.status();
  uint64_t bytes = 0;
  for (const std::string& name : *names) {
    struct stat info {};
    if (stat((path + "/" + name).c_str(), &info) != 0) continue;  // just gone
    bytes += static_cast<uint64_t>(info.st_blocks) * 512;  // stat(2)'s unit
  }
  return bytes;
}

absl::StatusOr<uint64_t> FreeBytesAt(const std::string& path) {
  struct statvfs info {};
  if (statvfs(path.c_str(), &info) != 0) return LastError(path, "statvfs");
  return uint64_t{info.f_bavail} * uint64_t{info.f_frsize};
}

}  // namespace streamnorm
