#ifndef STREAMNORM_STORAGE_ROCKSDB_SUPPORT_H_
#define STREAMNORM_STORAGE_ROCKSDB_SUPPORT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Declared here so that no header of ours needs RocksDB's.
namespace rocksdb {
class DB;
class Slice;
class Status;
struct Options;
struct ReadOptions;
struct WriteOptions;
}  // namespace rocksdb

namespace streamnorm {

// The one place where RocksDB's codes become ours. `what` was being done.
absl::Status FromRocksdb(const rocksdb::Status& status, std::string_view what);

// What RocksDB's own threads met. They tell it before the database knows it
// itself: for a moment `out_of_space` is true and Resume finds nothing to do.
struct BackgroundErrors {
  // Tables can't be written because the disk is full. The store clears it when
  // it lets RocksDB go on, because there is space.
  std::atomic<bool> out_of_space{false};
  // Anything else: only a new process can go on.
  std::atomic<bool> others{false};
};

// docs/storage_format.md, "RocksDB". A database opened with them sets `errors`
// from its own threads.
rocksdb::Options DatabaseOptions(uint64_t max_total_wal_bytes,
                                 std::shared_ptr<BackgroundErrors> errors);

// `path` is the database's own directory, created if absent.
absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabase(
    const std::string& path, rocksdb::Options options);

// Changes nothing. What is in the logs is read, too.
absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabaseReadOnly(
    const std::string& path, const rocksdb::Options& options);

// For every read: checked, and not kept in memory.
rocksdb::ReadOptions CheckedRead();

// For every write: not synced, and checked on its way to the memtable.
rocksdb::WriteOptions UnsyncedWrite();

// Does not own: `bytes` must outlive it.
rocksdb::Slice SliceOf(std::string_view bytes);

// The only size RocksDB 7.8 has for the checksums of keys and values in memory.
inline constexpr size_t kProtectionBytesPerKey = 8;

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_ROCKSDB_SUPPORT_H_
