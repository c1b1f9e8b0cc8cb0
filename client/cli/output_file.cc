#include "client/cli/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

constexpr size_t kBufferSize = size_t{1} << 18;

// Returns false with errno set.
bool WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Open(
    const std::string& path) {
  if (path.empty() || path == "-") {
    return std::unique_ptr<OutputFile>(new OutputFile(STDOUT_FILENO, "stdout"));
  }
  const int fd =
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  std::unique_ptr<OutputFile> file(new OutputFile(fd, path));
  if (fd < 0) return file->Failed();
  return file;
}

OutputFile::~OutputFile() {
  if (fd_ >= 0 && fd_ != STDOUT_FILENO) close(fd_);
}

absl::Status OutputFile::Append(absl::string_view bytes) {
  buffer_.append(bytes.data(), bytes.size());
  return buffer_.size() < kBufferSize ? absl::OkStatus() : Flush();
}

bool OutputFile::CanOverwrite() const {
  return lseek(fd_, 0, SEEK_CUR) >= 0 && isatty(fd_) == 0;
}

absl::Status OutputFile::OverwriteBeginning(absl::string_view bytes) {
  if (auto s = Flush(); !s.ok()) return s;
  const off_t end = lseek(fd_, 0, SEEK_CUR);
  const bool done = lseek(fd_, 0, SEEK_SET) >= 0 && WriteAll(fd_, bytes) &&
                    lseek(fd_, end, SEEK_SET) >= 0;
  return done ? absl::OkStatus() : Failed();
}

absl::Status OutputFile::Flush() {
  const bool done = WriteAll(fd_, buffer_);
  buffer_.clear();
  return done ? absl::OkStatus() : Failed();
}

absl::Status OutputFile::Failed() const {
  return absl::UnknownError(
      absl::StrCat("can't write ", name_, ": ", std::strerror(errno)));
}

}  // namespace streamnorm
