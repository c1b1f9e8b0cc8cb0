#include "storage/posix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

std::string ParentOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

}  // namespace

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

absl::Status LastError(const std::string& path, std::string_view what) {
  return absl::ErrnoToStatus(errno,
                             absl::StrCat(path, ": ", std::string(what)));
}

absl::StatusOr<FileDescriptor> OpenFile(const std::string& path, int flags,
                                        mode_t mode) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return LastError(path, "open");
  return FileDescriptor(fd);
}

absl::Status WriteAt(const FileDescriptor& file, const std::string& path,
                     std::string_view bytes, off_t offset) {
  while (!bytes.empty()) {
    const ssize_t written =
        pwrite(file.get(), bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return LastError(path, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += written;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadStart(const FileDescriptor& file,
                                      const std::string& path, size_t size) {
  std::string bytes(size, '\0');
  size_t filled = 0;
  while (filled < size) {
    const ssize_t got = pread(file.get(), bytes.data() + filled, size - filled,
                              static_cast<off_t>(filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return LastError(path, "read");
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

absl::Status SyncFile(const FileDescriptor& file, const std::string& path) {
  if (fdatasync(file.get()) == 0) return absl::OkStatus();
  return LastError(path, "fdatasync");
}

absl::Status SyncDirectory(const std::string& path) {
  const absl::StatusOr<FileDescriptor> directory =
      OpenFile(path, O_RDONLY | O_DIRECTORY);
  if (!directory.ok()) return directory.status();
  if (fsync(directory->get()) == 0) return absl::OkStatus();
  return LastError(path, "fsync");
}

absl::Status CreateDirectory(const std::string& path) {
  const std::string parent = ParentOf(path);
  int result = mkdir(path.c_str(), S_IRWXU);
  if (result != 0 && errno == ENOENT && parent != path) {
    absl::Status status = CreateDirectory(parent);
    if (!status.ok()) return status;
    result = mkdir(path.c_str(), S_IRWXU);
  }
  if (result == 0) return SyncDirectory(parent);
  if (errno == EEXIST) return absl::OkStatus();
  return LastError(path, "mkdir");
}

}  // namespace streamnorm
