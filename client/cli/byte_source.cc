#include "client/cli/byte_source.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

// Few system calls for large files, little memory.
constexpr size_t kReadSize = size_t{1} << 18;

absl::Status Failed(absl::string_view what, absl::string_view name) {
  return absl::UnknownError(
      absl::StrCat(what, " ", name, ": ", std::strerror(errno)));
}

class FileSource : public ByteSource {
 public:
  FileSource(int fd, std::string name, std::optional<uint64_t> size,
             int stop_fd)
      : fd_(fd), name_(std::move(name)), size_(size), stop_fd_(stop_fd) {}
  ~FileSource() override {
    if (fd_ != STDIN_FILENO) close(fd_);
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    while (true) {
      if (auto s = WaitForInput(); !s.ok()) return s;
      const ssize_t got = read(fd_, to, size);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EINTR && errno != EAGAIN) {
        return Failed("can't read", name_);
      }
    }
  }

  const std::string& name() const override { return name_; }
  std::optional<uint64_t> size() const override { return size_; }

  absl::Status Seek(uint64_t offset) override {
    if (!size_) return ByteSource::Seek(offset);
    if (lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) {
      return Failed("can't seek in", name_);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status WaitForInput() const {
    pollfd waits[] = {{fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    while (poll(waits, 2, -1) < 0) {
      if (errno != EINTR) return Failed("can't wait for", name_);
    }
    if (waits[1].revents != 0) return absl::CancelledError("interrupted");
    return absl::OkStatus();
  }

  const int fd_;
  const std::string name_;
  const std::optional<uint64_t> size_;
  const int stop_fd_;  // poll passes over -1
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteSource>> OpenFile(const std::string& path,
                                                     int stop_fd) {
  const bool standard = path == "-";
  const std::string name = standard ? "stdin" : path;
  const int fd =
      standard ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Failed("can't open", name);
  struct stat status {};
  std::optional<uint64_t> size;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    size = static_cast<uint64_t>(status.st_size);
  }
  auto source = std::make_unique<FileSource>(fd, name, size, stop_fd);
  if (S_ISDIR(status.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is a directory, want a CSV or NPY file"));
  }
  return source;
}

absl::Status ByteSource::Seek(uint64_t) {
  return absl::FailedPreconditionError(
      absl::StrCat(name(), ": its bytes come only once, want a file"));
}

BufferedInput::BufferedInput(std::unique_ptr<ByteSource> source)
    : source_(std::move(source)) {}

absl::StatusOr<absl::string_view> BufferedInput::Peek(size_t size) {
  while (!at_end_ && buffer_.size() - begin_ < size) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    const size_t had = buffer_.size();
    buffer_.resize(had + std::max(kReadSize, size - had));
    const auto got = source_->Read(&buffer_[had], buffer_.size() - had);
    buffer_.resize(had + (got.ok() ? *got : 0));
    if (!got.ok()) return got.status();
    at_end_ = *got == 0;
  }
  return absl::string_view(buffer_).substr(begin_);
}

void BufferedInput::Skip(size_t size) {
  assert(size <= buffer_.size() - begin_);
  begin_ += size;
  taken_ += size;
}

absl::Status BufferedInput::Seek(uint64_t offset) {
  if (auto s = source_->Seek(offset); !s.ok()) return s;
  buffer_.clear();
  begin_ = 0;
  at_end_ = false;
  taken_ = offset;
  return absl::OkStatus();
}

absl::StatusOr<size_t> BufferedInput::Read(char* to, size_t size) {
  size_t done = 0;
  while (done < size) {
    const auto bytes = Peek(1);
    if (!bytes.ok()) return bytes.status();
    if (bytes->empty()) break;
    const size_t n = std::min(size - done, bytes->size());
    std::memcpy(to + done, bytes->data(), n);
    Skip(n);
    done += n;
  }
  return done;
}

}  // namespace streamnorm
