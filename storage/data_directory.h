#ifndef STREAMNORM_STORAGE_DATA_DIRECTORY_H_
#define STREAMNORM_STORAGE_DATA_DIRECTORY_H_

#include <cstdint>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "storage/posix_file.h"

namespace streamnorm {

// The directory of one store, locked for as long as this lives. Not thread
// safe.
class DataDirectory {
 public:
  // Creates `path` if absent. kUnavailable: locked by someone else;
  // kFailedPrecondition: it is no directory, or holds something else, a backup
  // or a restore that was cut short.
  static absl::StatusOr<DataDirectory> Open(const std::string& path);

  // To look at, or to be filled: takes what is there and changes nothing.
  // kNotFound: there is none.
  static absl::StatusOr<DataDirectory> OpenExisting(const std::string& path);

  const std::string& path() const { return path_; }
  std::string database_path() const { return path_ + "/db"; }
  std::string floor_path() const { return path_ + "/FLOOR"; }

  // Makes the directory a backup; the one that says a restore is under way.
  std::string backup_path() const { return path_ + "/BACKUP"; }
  std::string restoring_path() const { return path_ + "/RESTORING"; }

  // False also where db/ is empty: a directory somebody made is no database.
  absl::StatusOr<bool> HasDatabase() const;

 private:
  DataDirectory(FileDescriptor directory, std::string path)
      : directory_(std::move(directory)), path_(std::move(path)) {}

  absl::Status Lock();
  absl::Status CheckContents() const;

  FileDescriptor directory_;  // has the lock
  std::string path_;
};

// The names in `path`, in their order.
absl::StatusOr<std::set<std::string>> NamesIn(const std::string& path);

// Bytes that the files in `path` take; files may come and go meanwhile.
absl::StatusOr<uint64_t> SizeOfFilesIn(const std::string& path);

// Bytes an unprivileged process can still write to the file system of `path`.
absl::StatusOr<uint64_t> FreeBytesAt(const std::string& path);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_DATA_DIRECTORY_H_
