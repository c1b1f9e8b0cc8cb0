#include "storage/rocksdb_copy.h"

#include <fcntl.h>
#include <rocksdb/db.h>
#include <rocksdb/snapshot.h>
#include <rocksdb/sst_file_writer.h>

#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/data_directory.h"
#include "storage/key_codec.h"
#include "storage/posix_file.h"
#include "storage/progress_meter.h"
#include "storage/rocksdb_scan.h"
#include "storage/rocksdb_support.h"
#include "storage/value_format.h"

namespace streamnorm {
namespace {

// The copy gets no writes to speak of.
constexpr uint64_t kLogBytes = uint64_t{1} << 20;

// What RocksDB itself makes of its tables. Before each there must be room for
// it: RocksDB 7.8's file writer ends the process when it goes on after a failed
// write, and the store that serves is in the same one.
constexpr uint64_t kTableBytes = uint64_t{64} << 20;

rocksdb::Options CopyOptions() {
  return DatabaseOptions(kLogBytes, std::make_shared<BackgroundErrors>());
}

absl::Status CheckFree(const std::string& path, uint64_t want) {
  const absl::StatusOr<uint64_t> free = FreeBytesAt(path);
  if (!free.ok()) return free.status();
  if (*free >= want) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(path, ": ", *free, " bytes free, want ", want));
}

// Writes sorted records into tables of bounded size, on the thread that asks:
// RocksDB's own threads belong to the store that serves. Not thread safe.
class TableSeries {
 public:
  TableSeries(const std::string& directory, uint64_t min_free_bytes)
      : directory_(directory),
        min_free_bytes_(min_free_bytes),
        options_(CopyOptions()) {}

  absl::Status Add(std::string_view key, std::string_view value) {
    if (writer_ == nullptr) {
      absl::Status status = Begin();
      if (!status.ok()) return status;
    }
    const rocksdb::Status put = writer_->Put(SliceOf(key), SliceOf(value));
    if (!put.ok()) return FromRocksdb(put, paths_.back());
    return writer_->FileSize() < kTableBytes ? absl::OkStatus() : Finish();
  }

  // Synced.
  absl::Status Finish() {
    if (writer_ == nullptr) return absl::OkStatus();
    const rocksdb::Status finished = writer_->Finish();
    writer_.reset();
    return FromRocksdb(finished, paths_.back());
  }

  const std::vector<std::string>& paths() const { return paths_; }

 private:
  absl::Status Begin() {
    absl::Status status = CheckFree(directory_, min_free_bytes_ + kTableBytes);
    if (!status.ok()) return status;
    paths_.push_back(absl::StrCat(directory_, "/", paths_.size(), ".table"));
    writer_ = std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(),
                                                       options_);
    return FromRocksdb(writer_->Open(paths_.back()), paths_.back());
  }

  const std::string directory_;
  const uint64_t min_free_bytes_;
  const rocksdb::Options options_;
  std::unique_ptr<rocksdb::SstFileWriter> writer_;
  std::vector<std::string> paths_;
};

void Count(std::string_view key, std::string_view value, BackupFile* contents) {
  const auto kind = static_cast<KeyKind>(key.front());
  ++contents->summary.records;
  contents->summary.normalizers += kind == KeyKind::kDefinition ? 1 : 0;
  contents->summary.sessions += kind == KeyKind::kSession ? 1 : 0;
  contents->digest = ChainedChecksum(contents->digest, key, value);
}

bool IsMeta(std::string_view key) {
  return !key.empty() && static_cast<KeyKind>(key.front()) == KeyKind::kMeta;
}

absl::StatusOr<StoreMeta> WholeMeta(rocksdb::DB* db,
                                    const rocksdb::ReadOptions& options) {
  const absl::StatusOr<FoundMeta> found = ReadMeta(db, options);
  if (!found.ok()) return found.status();
  if (!found->damage.empty()) {
    return absl::DataLossError(
        absl::StrCat(db->GetName(), ": ", found->damage));
  }
  return StoreMeta{*found->history_id, *found->incarnation,
                   *found->next_generation};
}

// All records but the store's own.
absl::Status CopyRecords(rocksdb::DB* from, const rocksdb::ReadOptions& options,
                         TableSeries* tables, ProgressMeter* progress,
                         BackupFile* contents) {
  absl::Status status =
      ScanRecords(from, options, progress, [&](auto key, auto value) {
        if (IsMeta(key)) return absl::OkStatus();
        Count(key, value, contents);
        return tables->Add(key, value);
      });
  if (!status.ok()) return status;
  return tables->Finish();
}

// The tables become the database's own: they are moved, not copied.
absl::Status MakeDatabase(const std::vector<std::string>& tables,
                          const std::string& path) {
  const absl::StatusOr<std::unique_ptr<rocksdb::DB>> db =
      OpenDatabase(path, CopyOptions());
  if (!db.ok()) return db.status();
  if (tables.empty()) return absl::OkStatus();
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  options.write_global_seqno = false;
  return FromRocksdb((*db)->IngestExternalFile(tables, options), path);
}

absl::Status SyncFilesIn(const std::string& path) {
  const absl::StatusOr<std::set<std::string>> names = NamesIn(path);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::string file = absl::StrCat(path, "/", name);
    const absl::StatusOr<FileDescriptor> opened = OpenFile(file, O_RDONLY);
    if (!opened.ok()) return opened.status();
    absl::Status status = SyncFile(*opened, file);
    if (!status.ok()) return status;
  }
  return SyncDirectory(path);
}

}  // namespace

absl::StatusOr<DatabaseCopy> CopyDatabase(rocksdb::DB* from,
                                          const std::string& directory,
                                          uint64_t min_free_bytes,
                                          const OnStoreProgress& on_progress) {
  const uint64_t total_bytes = DatabaseBytes(from);
  absl::Status status =
      CheckFree(directory, total_bytes + kTableBytes + min_free_bytes);
  if (!status.ok()) return status;
  rocksdb::ManagedSnapshot snapshot(from);
  rocksdb::ReadOptions options = CheckedRead();
  options.snapshot = snapshot.snapshot();
  const absl::StatusOr<StoreMeta> meta = WholeMeta(from, options);
  if (!meta.ok()) return meta.status();
  DatabaseCopy copy;
  copy.meta = *meta;
  copy.contents.summary.sequence = snapshot.snapshot()->GetSequenceNumber();
  ProgressMeter progress(total_bytes, on_progress);
  TableSeries tables(directory, min_free_bytes);
  status = progress.Begin();
  if (status.ok()) {
    status = CopyRecords(from, options, &tables, &progress, &copy.contents);
  }
  if (status.ok()) status = MakeDatabase(tables.paths(), directory + "/db");
  if (!status.ok()) return status;
  return copy;
}

absl::StatusOr<uint64_t> FinishCopy(const StoreMeta& meta,
                                    const std::string& directory) {
  const std::string path = directory + "/db";
  uint64_t sequence = 0;
  {
    const absl::StatusOr<std::unique_ptr<rocksdb::DB>> db =
        OpenDatabase(path, CopyOptions());
    if (!db.ok()) return db.status();
    absl::Status status = WriteMeta(meta, db->get());
    if (status.ok()) status = FromRocksdb((*db)->SyncWAL(), path);
    if (!status.ok()) return status;
    sequence = (*db)->GetLatestSequenceNumber();
  }
  absl::Status status = SyncFilesIn(path);
  if (!status.ok()) return status;
  return sequence;
}

}  // namespace streamnorm
