#ifndef STREAMNORM_STORAGE_POSIX_FILE_H_
#define STREAMNORM_STORAGE_POSIX_FILE_H_

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace streamnorm {

// Owns a file descriptor. Not thread safe.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// Errors of all of these: errno as an absl code, `path` in the message.

// open(2), with O_CLOEXEC.
absl::StatusOr<FileDescriptor> OpenFile(const std::string& path, int flags,
                                        mode_t mode = 0);

// Writes all of `bytes` at `offset`.
absl::Status WriteAt(const FileDescriptor& file, const std::string& path,
                     std::string_view bytes, off_t offset);

// What `file` has of `size` bytes from its start.
absl::StatusOr<std::string> ReadStart(const FileDescriptor& file,
                                      const std::string& path, size_t size);

// fdatasync(2): the bytes of `file` survive a power cut.
absl::Status SyncFile(const FileDescriptor& file, const std::string& path);

// The names in directory `path` survive a power cut.
absl::Status SyncDirectory(const std::string& path);

// Creates `path` and what is missing above it; all of them survive a power
// cut. OK if there is one.
absl::Status CreateDirectory(const std::string& path);

// errno as an absl code: "<path>: <what>: <strerror>".
absl::Status LastError(const std::string& path, std::string_view what);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_POSIX_FILE_H_
