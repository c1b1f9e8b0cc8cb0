#include "storage/rocksdb_scan.h"

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/metadata.h>
#include <rocksdb/snapshot.h>

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/record_verifier.h"
#include "storage/rocksdb_support.h"

namespace streamnorm {
namespace {

// No table that is read goes away meanwhile. A database that is open for
// reading only deletes none, and refuses to be asked.
class KeptTables {
 public:
  explicit KeptTables(rocksdb::DB* db)
      : db_(db), kept_(db->DisableFileDeletions().ok()) {}
  ~KeptTables() {
    if (kept_) db_->EnableFileDeletions(/*force=*/false).PermitUncheckedError();
  }
  KeptTables(const KeptTables&) = delete;
  KeptTables& operator=(const KeptTables&) = delete;

 private:
  rocksdb::DB* const db_;
  const bool kept_;
};

// Every block of every table, also those a scan has no need of. One by one, so
// that it can be ended and each damaged one is named.
absl::Status VerifyTables(rocksdb::DB* db, ProgressMeter* progress,
                          VerifyReport* report) {
  const KeptTables kept(db);
  std::vector<rocksdb::LiveFileMetaData> tables;
  db->GetLiveFilesMetaData(&tables);
  for (const rocksdb::LiveFileMetaData& table : tables) {
    const rocksdb::Status verified = rocksdb::VerifySstFileChecksum(
        db->GetOptions(), rocksdb::EnvOptions(), CheckedRead(),
        absl::StrCat(table.directory, "/", table.relative_filename),
        table.largest_seqno);
    ++report->tables;
    report->table_bytes += table.size;
    if (verified.IsCorruption() || verified.IsPathNotFound()) {
      report->Add({"", absl::StrCat("db/", table.relative_filename, ": ",
                                    verified.ToString())});
    } else if (!verified.ok()) {
      return FromRocksdb(verified, table.relative_filename);
    }
    absl::Status status = progress->Add(table.size, 0);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status VerifyRecords(rocksdb::DB* db, ProgressMeter* progress,
                           VerifyReport* report) {
  rocksdb::ManagedSnapshot snapshot(db);
  rocksdb::ReadOptions options = CheckedRead();
  options.snapshot = snapshot.snapshot();
  RecordVerifier verifier(report);
  const uint64_t damaged_tables = report->damaged_count;
  absl::Status status =
      ScanRecords(db, options, progress, [&](auto key, auto value) {
        verifier.Add(key, value);
        return absl::OkStatus();
      });
  // What was not reached would seem to be missing.
  if (status.ok()) verifier.FindContradictions();
  if (!absl::IsDataLoss(status)) return status;
  if (damaged_tables == 0) {
    report->Add({"", std::string(status.message())});
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t DatabaseBytes(rocksdb::DB* db) {
  uint64_t bytes = 0;
  for (const std::string& property :
       {rocksdb::DB::Properties::kLiveSstFilesSize,
        rocksdb::DB::Properties::kCurSizeAllMemTables}) {
    uint64_t part = 0;
    if (db->GetIntProperty(property, &part)) bytes += part;
  }
  return bytes;
}

absl::Status ScanRecords(
    rocksdb::DB* db, const rocksdb::ReadOptions& options,
    ProgressMeter* progress,
    const std::function<absl::Status(std::string_view key,
                                     std::string_view value)>& on_record) {
  const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(options));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const rocksdb::Slice key = it->key();
    const rocksdb::Slice value = it->value();
    absl::Status status =
        on_record({key.data(), key.size()}, {value.data(), value.size()});
    if (status.ok()) status = progress->Add(key.size() + value.size(), 1);
    if (!status.ok()) return status;
  }
  return FromRocksdb(it->status(), db->GetName());
}

absl::Status VerifyDatabase(rocksdb::DB* db, const OnStoreProgress& on_progress,
                            VerifyReport* report) {
  // Tables are read twice: block by block, then for their records.
  ProgressMeter progress(2 * DatabaseBytes(db), on_progress);
  absl::Status status = progress.Begin();
  if (status.ok()) status = VerifyTables(db, &progress, report);
  if (status.ok()) status = VerifyRecords(db, &progress, report);
  return status;
}

}  // namespace streamnorm
