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

// True while RocksDB can't write its tables because the disk is full; the store
// lets it go on when there is space.
using OutOfSpace = std::atomic<bool>;

// docs/storage_format.md, "RocksDB". A database opened with them keeps
// `*out_of_space` up to date, from its own threads.
rocksdb::Options DatabaseOptions(uint64_t max_total_wal_bytes,
                                 std::shared_ptr<OutOfSpace> out_of_space);

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
