#ifndef STREAMNORM_STORAGE_ROCKSDB_SCAN_H_
#define STREAMNORM_STORAGE_ROCKSDB_SCAN_H_

#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/status/status.h"
#include "storage/maintenance.h"
#include "storage/progress_meter.h"

namespace rocksdb {
class DB;
struct Options;
struct ReadOptions;
}  // namespace rocksdb

namespace streamnorm {

// Bytes a scan of everything reads: tables and what is not in one yet.
uint64_t DatabaseBytes(rocksdb::DB* db);

// Calls `on_record` for every record in the order of the keys. RocksDB checks
// each block on the way. Stops at the first error and returns it.
absl::Status ScanRecords(
    rocksdb::DB* db, const rocksdb::ReadOptions& options,
    ProgressMeter* progress,
    const std::function<absl::Status(std::string_view key,
                                     std::string_view value)>& on_record);

// Checks tables, records and what records say about each other. Damage goes
// into `*report`; an error means that it could not be looked for. Other threads
// may write meanwhile: it sees the database of one moment.
absl::Status VerifyDatabase(rocksdb::DB* db, const OnStoreProgress& on_progress,
                            VerifyReport* report);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_ROCKSDB_SCAN_H_
