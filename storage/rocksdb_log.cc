#include "storage/rocksdb_log.h"

#include <fcntl.h>
#include <rocksdb/env.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "storage/posix_file.h"

namespace streamnorm {
namespace {

constexpr off_t kMaxLogBytes = off_t{1} << 20;
constexpr size_t kMaxEntryBytes = 4096;  // what is longer is cut

using Entry = std::array<char, kMaxEntryBytes>;

// "2024-05-01 17:03:09.123456 ", UTC; returns its length.
size_t PutTime(Entry* entry) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm fields{};
  gmtime_r(&now.tv_sec, &fields);
  const size_t date =
      std::strftime(entry->data(), entry->size(), "%Y-%m-%d %H:%M:%S", &fields);
  const int rest = std::snprintf(entry->data() + date, entry->size() - date,
                                 ".%06ld ", now.tv_nsec / 1000);
  return date + static_cast<size_t>(std::max(rest, 0));
}

class RocksdbLog : public rocksdb::Logger {
 public:
  explicit RocksdbLog(const std::string& directory)
      : rocksdb::Logger(rocksdb::InfoLogLevel::INFO_LEVEL),
        path_(directory + "/LOG") {
    OpenLog();
  }

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Entry entry;
    const size_t start = PutTime(&entry);
    const size_t room = entry.size() - start;
    const int wanted =
        std::vsnprintf(entry.data() + start, room, format, arguments);
    if (wanted < 0) return;
    const size_t end = start + std::min(static_cast<size_t>(wanted), room - 1);
    entry[end] = '\n';  // in the place of the final zero
    Append(entry.data(), end + 1);
  }

 private:
  void OpenLog() {
    absl::StatusOr<FileDescriptor> opened =
        OpenFile(path_, O_WRONLY | O_CREAT | O_APPEND, S_IRUSR | S_IWUSR);
    if (!opened.ok()) return;
    file_ = *std::move(opened);
    struct stat info {};
    size_ = fstat(file_.get(), &info) == 0 ? info.st_size : 0;
  }

  void Append(const char* bytes, size_t size) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (size_ >= kMaxLogBytes &&
        std::rename(path_.c_str(), (path_ + ".old").c_str()) == 0) {
      OpenLog();
    }
    const ssize_t written = write(file_.get(), bytes, size);
    if (written > 0) size_ += written;
  }

  const std::string path_;
  std::mutex mutex_;
  FileDescriptor file_;  // guarded by mutex_, as is size_
  off_t size_ = 0;
};

}  // namespace

std::shared_ptr<rocksdb::Logger> NewRocksdbLog(const std::string& directory) {
  return std::make_shared<RocksdbLog>(directory);
}

}  // namespace streamnorm
