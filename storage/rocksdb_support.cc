#include "storage/rocksdb_support.h"

#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/slice.h>
#include <rocksdb/status.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/posix_file.h"
#include "storage/rocksdb_log.h"

namespace streamnorm {
namespace {

absl::StatusCode IoErrorCode(const rocksdb::Status& status,
                             std::string_view text) {
  if (status.IsNoSpace()) {
    return absl::StatusCode::kResourceExhausted;
  }
  if (status.IsPathNotFound()) return absl::StatusCode::kDataLoss;
  // RocksDB has no code for a database that is open elsewhere.
  if (text.find("/LOCK: ") != std::string_view::npos) {
    return absl::StatusCode::kUnavailable;
  }
  return absl::StatusCode::kInternal;
}

absl::StatusCode CodeOf(const rocksdb::Status& status, std::string_view text) {
  switch (status.code()) {
    case rocksdb::Status::kOk:
      return absl::StatusCode::kOk;
    case rocksdb::Status::kNotFound:
      return absl::StatusCode::kNotFound;
    case rocksdb::Status::kCorruption:
      return absl::StatusCode::kDataLoss;
    case rocksdb::Status::kNotSupported:
    case rocksdb::Status::kInvalidArgument:
      return absl::StatusCode::kFailedPrecondition;
    case rocksdb::Status::kIOError:
      return IoErrorCode(status, text);
    default:
      return absl::StatusCode::kInternal;
  }
}

// Bounds what RocksDB writes about itself, but for LOG (NewRocksdbLog).
void BoundOwnFiles(rocksdb::Options* options) {
  options->max_manifest_file_size = uint64_t{16} << 20;
  options->stats_dump_period_sec = 0;
  options->stats_persist_period_sec = 0;
  options->db_host_id = "";  // table files would carry the host's name
}

// Two threads: one flushes, one compacts. All writes come from the committer.
void BoundThreads(rocksdb::Options* options) {
  options->max_background_jobs = 2;
  options->max_subcompactions = 1;
  options->max_file_opening_threads = 1;
}

// Doubles hardly compress, and the database needs no codec to be read.
// Nothing is read twice: Load goes through everything once.
void FitTables(rocksdb::Options* options) {
  options->compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  options->table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
}

// With one column family RocksDB ignores max_total_wal_size: a log lives as
// long as its memtable, so the two memtables are what bounds the logs.
void BoundLog(uint64_t max_total_wal_bytes, rocksdb::Options* options) {
  constexpr uint64_t kSmallestMemtable = uint64_t{64} << 10;  // RocksDB's limit
  options->max_total_wal_size = max_total_wal_bytes;
  options->max_write_buffer_number = 2;
  options->write_buffer_size =
      std::max(max_total_wal_bytes / 2, kSmallestMemtable);
}

void DoubtEverything(rocksdb::Options* options) {
  options->paranoid_checks = true;
  options->verify_sst_unique_id_in_manifest = true;
  options->memtable_protection_bytes_per_key = kProtectionBytesPerKey;
  // Recovers up to the first damage. FLOOR says whether that is far enough.
  options->wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // What was recovered from the page cache becomes a synced table before
  // anything is promised on top of it.
  options->avoid_flush_during_recovery = false;
  // False alarms with SyncWAL before RocksDB 7.10.
  options->track_and_verify_wals_in_manifest = false;
  // A recycled log may end in records of its former life.
  options->recycle_log_file_num = 0;
  options->manual_wal_flush = false;  // a killed process loses nothing
  options->wal_bytes_per_sync = 0;    // SyncWAL alone syncs
}

// Tables can be written again when there is space; until then their contents
// are in memory and in the log. A log or a manifest that was cut short can't.
bool IsOnlyOutOfSpace(rocksdb::BackgroundErrorReason reason,
                      const rocksdb::Status& error) {
  // "NoWAL": it was not the log that failed.
  return error.IsNoSpace() &&
         (reason == rocksdb::BackgroundErrorReason::kFlushNoWAL ||
          reason == rocksdb::BackgroundErrorReason::kCompaction);
}

// Safe for concurrent use.
class ErrorListener : public rocksdb::EventListener {
 public:
  explicit ErrorListener(std::shared_ptr<BackgroundErrors> errors)
      : errors_(std::move(errors)) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason,
                         rocksdb::Status* error) override {
    if (IsOnlyOutOfSpace(reason, *error)) {
      errors_->out_of_space = true;
    } else {
      errors_->others = true;
    }
  }

  // RocksDB's own recovery looks for space every 5 s and keeps some of it for
  // itself: the store resumes by itself, as soon as there is enough.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* recover) override {
    *recover = false;
  }

 private:
  const std::shared_ptr<BackgroundErrors> errors_;
};

}  // namespace

absl::Status FromRocksdb(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = status.ToString();
  return absl::Status(CodeOf(status, text),
                      absl::StrCat(std::string(what), ": ", text));
}

rocksdb::Options DatabaseOptions(uint64_t max_total_wal_bytes,
                                 std::shared_ptr<BackgroundErrors> errors) {
  rocksdb::Options options;
  options.create_if_missing = true;
  DoubtEverything(&options);
  BoundLog(max_total_wal_bytes, &options);
  BoundOwnFiles(&options);
  BoundThreads(&options);
  FitTables(&options);
  options.listeners.push_back(
      std::make_shared<ErrorListener>(std::move(errors)));
  return options;
}

absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabase(
    const std::string& path, rocksdb::Options options) {
  absl::Status status = CreateDirectory(path);
  if (!status.ok()) return status;
  options.info_log = NewRocksdbLog(path);
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(options, path, &db);
  if (!opened.ok()) return FromRocksdb(opened, path);
  return std::unique_ptr<rocksdb::DB>(db);
}

absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabaseReadOnly(
    const std::string& path, const rocksdb::Options& options) {
  rocksdb::DBOptions db_options(options);
  db_options.create_if_missing = false;
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName,
       rocksdb::ColumnFamilyOptions(options)}};
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(
      db_options, path, families, &handles, &opened);
  if (!status.ok()) return FromRocksdb(status, path);
  std::unique_ptr<rocksdb::DB> db(opened);
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    db->DestroyColumnFamilyHandle(handle);
  }
  return db;
}

rocksdb::Slice SliceOf(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}

rocksdb::ReadOptions CheckedRead() {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  return options;
}

rocksdb::WriteOptions UnsyncedWrite() {
  rocksdb::WriteOptions options;
  options.sync = false;
  options.protection_bytes_per_key = kProtectionBytesPerKey;
  return options;
}

}  // namespace streamnorm
