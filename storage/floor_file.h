#ifndef STREAMNORM_STORAGE_FLOOR_FILE_H_
#define STREAMNORM_STORAGE_FLOOR_FILE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/posix_file.h"
#include "storage/records.h"

namespace streamnorm {

// What was promised to clients: a database that recovers to less has lost
// something. RocksDB itself would not notice a damaged or missing log.
struct Floor {
  HistoryId history_id{};
  uint64_t sequence = 0;  // RocksDB's; 0 = nothing was promised yet

  bool operator==(const Floor&) const = default;
};

// kRead changes nothing, and works where nothing may be changed.
enum class FloorAccess { kReadWrite, kRead };

// The file FLOOR (docs/storage_format.md): two slots, written in turn and in
// place, so a write cut short leaves the one before it. Not thread safe.
class FloorFile {
 public:
  // Absent if there is no file. kDataLoss: no slot is readable;
  // kFailedPrecondition: a newer version wrote it.
  static absl::StatusOr<std::optional<FloorFile>> Open(
      const std::string& path, FloorAccess access = FloorAccess::kReadWrite);

  // Puts a file with `floor` in both slots in the place of any other. After a
  // crash there is either the whole file or what was there before.
  static absl::StatusOr<FloorFile> Create(const std::string& path,
                                          const Floor& floor);

  const Floor& floor() const { return floor_; }

  // REQUIRES: not opened with kRead. Durable when it returns OK. After an error
  // the file must be opened anew.
  absl::Status Store(const Floor& floor);

 private:
  FloorFile(FileDescriptor file, std::string path)
      : file_(std::move(file)), path_(std::move(path)) {}

  FileDescriptor file_;
  std::string path_;
  uint64_t counter_ = 0;  // of the slot written last
  Floor floor_;           // in it
};

// Where Create prepares the file before it takes its name; a crash may leave
// it behind.
std::string FloorDraftPath(const std::string& path);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_FLOOR_FILE_H_
