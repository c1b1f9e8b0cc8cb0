#include "storage/rocksdb_store.h"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "storage/contents_builder.h"
#include "storage/data_directory.h"
#include "storage/floor_file.h"
#include "storage/key_codec.h"
#include "storage/kill_point.h"
#include "storage/record_codec.h"
#include "storage/rocksdb_backup.h"
#include "storage/rocksdb_recovery.h"
#include "storage/rocksdb_scan.h"
#include "storage/rocksdb_support.h"

namespace streamnorm {
namespace {

std::string_view ViewOf(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

absl::Status LossError(const std::string& path, const std::string& loss) {
  return absl::DataLossError(absl::StrCat(
      path, ": ", loss,
      ": restore a backup, or start with --accept_data_loss to go on with what "
      "is left under a new history"));
}

StoreMeta NextMeta(const FoundMeta& found, bool lost,
                   const HistoryId& history_id) {
  StoreMeta meta;
  meta.history_id = history_id;
  meta.incarnation = found.incarnation.value_or(0) + 1;
  meta.next_generation =
      found.next_generation.value_or(1) + (lost ? kGenerationGap : 0);
  return meta;
}

// True if RocksDB refused a write for an error it had before: the log was not
// touched. Only such an error has been given a severity; Incomplete says that
// the write was held up when it came.
bool IsFromBefore(const rocksdb::Status& status) {
  return status.IsIncomplete() ||
         (status.IsNoSpace() &&
          status.severity() != rocksdb::Status::Severity::kNoError);
}

// Not thread safe, but for SizeBytes, FreeBytes, Backup and Verify.
class RocksdbStore : public StatisticsStore {
 public:
  RocksdbStore(DataDirectory directory, uint64_t reserve_bytes,
               std::shared_ptr<BackgroundErrors> errors, FloorFile floor,
               const StoreMeta& meta, std::unique_ptr<rocksdb::DB> db)
      : directory_(std::move(directory)),
        reserve_bytes_(reserve_bytes),
        errors_(std::move(errors)),
        floor_(std::move(floor)),
        meta_(meta),
        db_(std::move(db)) {}

  std::string_view kind() const override { return "rocksdb"; }
  absl::StatusOr<StoreContents> Load() override;
  absl::Status Write(const CommitBatch& batch) override;
  absl::Status Sync() override;
  absl::StatusOr<uint64_t> SizeBytes() const override {
    return SizeOfFilesIn(directory_.database_path());
  }
  absl::StatusOr<uint64_t> FreeBytes() const override {
    return FreeBytesAt(directory_.path());
  }
  absl::StatusOr<BackupSummary> Backup(
      const BackupOptions& options,
      const OnStoreProgress& on_progress) const override;
  absl::StatusOr<VerifyReport> Verify(
      const OnStoreProgress& on_progress) const override;

 private:
  rocksdb::Status AddDeletions(const CommitBatch& batch,
                               rocksdb::WriteBatch* writes);
  rocksdb::Status DeleteAll(const std::string& prefix,
                            rocksdb::WriteBatch* writes);
  absl::Status CheckSpace(uint64_t bytes) const;
  absl::Status ResumeWhenThereIsSpace();
  bool IsOnlyOutOfSpace(const rocksdb::Status& status) const;
  absl::Status OutOfSpaceError() const;
  absl::Status Fail(absl::Status status);

  const DataDirectory directory_;  // outlives db_: it has the lock
  const uint64_t reserve_bytes_;
  const std::shared_ptr<BackgroundErrors> errors_;
  FloorFile floor_;
  const StoreMeta meta_;
  const std::unique_ptr<rocksdb::DB> db_;
  absl::Status failure_;  // the first; it sticks
};

// Adds a decoded record. A damaged one quarantines its normalizer; one that a
// newer version wrote is an error.
template <typename Record>
absl::Status AddRecord(absl::StatusOr<Record> record,
                       const std::string& normalizer_id,
                       ContentsBuilder* builder) {
  if (absl::IsFailedPrecondition(record.status())) return record.status();
  if (record.ok()) {
    builder->Add(*std::move(record));
  } else if (!normalizer_id.empty()) {
    builder->Quarantine(normalizer_id, std::string(record.status().message()));
  }  // a damaged session: ContentsBuilder finds the ledgers that miss it
  return absl::OkStatus();
}

absl::Status LoadRecord(std::string_view key, std::string_view value,
                        ContentsBuilder* builder) {
  const absl::StatusOr<ParsedKey> parsed = ParseKey(key);
  if (!parsed.ok()) return parsed.status();
  const std::string& id = parsed->normalizer_id;
  switch (parsed->kind) {
    case KeyKind::kDefinition:
      return AddRecord(DecodeDefinition(key, value), id, builder);
    case KeyKind::kState:
      return AddRecord(DecodeState(key, value), id, builder);
    case KeyKind::kLedger:
      return AddRecord(DecodeLedger(key, value), id, builder);
    case KeyKind::kSession:
      return AddRecord(DecodeSession(key, value), "", builder);
    case KeyKind::kSnapshot: {
      auto snapshot = DecodeSnapshot(key, value);
      if (absl::IsFailedPrecondition(snapshot.status())) {
        return snapshot.status();
      }
      if (snapshot.ok()) {
        builder->Add(
            std::make_shared<const SnapshotRecord>(*std::move(snapshot)));
      } else {
        builder->AddDamaged(id, {parsed->snapshot_id,
                                 std::string(snapshot.status().message())});
      }
      break;
    }
    case KeyKind::kMeta:
      break;  // read when the store was opened
  }
  return absl::OkStatus();
}

absl::StatusOr<StoreContents> RocksdbStore::Load() {
  StoreContents contents;
  contents.history_id = meta_.history_id;
  contents.incarnation = meta_.incarnation;
  contents.next_generation = meta_.next_generation;
  ContentsBuilder builder;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(CheckedRead()));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    absl::Status status =
        LoadRecord(ViewOf(it->key()), ViewOf(it->value()), &builder);
    if (!status.ok()) return status;
  }
  if (!it->status().ok()) return FromRocksdb(it->status(), directory_.path());
  builder.Finish(&contents);
  return contents;
}

// One by one: range deletions are the less trodden path of RocksDB, and a
// normalizer has few ledgers and snapshots.
rocksdb::Status RocksdbStore::DeleteAll(const std::string& prefix,
                                        rocksdb::WriteBatch* writes) {
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(CheckedRead()));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix);
       it->Next()) {
    rocksdb::Status status = writes->Delete(it->key());
    if (!status.ok()) return status;
  }
  return it->status();
}

rocksdb::Status RocksdbStore::AddDeletions(const CommitBatch& batch,
                                           rocksdb::WriteBatch* writes) {
  rocksdb::Status status;
  for (const std::string& id : batch.deleted_normalizers) {
    if (status.ok()) status = writes->Delete(DefinitionKey(id));
    if (status.ok()) status = writes->Delete(StateKey(id));
    if (status.ok()) status = DeleteAll(LedgerPrefix(id), writes);
    if (status.ok()) status = DeleteAll(SnapshotPrefix(id), writes);
  }
  for (const SessionId& id : batch.deleted_sessions) {
    if (status.ok()) status = writes->Delete(SessionKey(id));
  }
  for (const auto& [id, session] : batch.deleted_ledgers) {
    if (status.ok()) status = writes->Delete(LedgerKey(id, session));
  }
  for (const auto& [id, snapshot] : batch.deleted_snapshots) {
    if (status.ok()) status = writes->Delete(SnapshotKey(id, snapshot));
  }
  return status;
}

rocksdb::Status AddPuts(const CommitBatch& batch, rocksdb::WriteBatch* writes) {
  rocksdb::Status status;
  std::string value;
  const auto put = [&](const std::string& key, const auto& record) {
    if (!status.ok()) return;
    Encode(key, record, &value);
    status = writes->Put(key, value);
  };
  for (const auto& d : batch.definitions) put(DefinitionKey(d.id), d);
  for (const auto& s : batch.states) put(StateKey(s.id), s);
  for (const auto& s : batch.sessions) put(SessionKey(s.id), s);
  for (const auto& l : batch.ledgers) {
    put(LedgerKey(l.normalizer_id, l.session), l);
  }
  for (const auto& p : batch.snapshots) {
    put(SnapshotKey(p->normalizer_id(), p->id), *p);
  }
  if (batch.next_generation && status.ok()) {
    EncodeNumber(kNextGenerationKey, *batch.next_generation, &value);
    status = writes->Put(SliceOf(kNextGenerationKey), value);
  }
  return status;
}

// Refuses what might not fit before RocksDB begins with it: a log cut short by
// a full disk can only be left behind by a new process.
absl::Status RocksdbStore::CheckSpace(uint64_t bytes) const {
  const absl::StatusOr<uint64_t> free = FreeBytes();
  if (!free.ok()) return free.status();
  if (*free >= reserve_bytes_ + bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(directory_.path(), ": ",
                                                   *free, " bytes free, want ",
                                                   reserve_bytes_ + bytes));
}

// A flush that found no room is tried again once there is some.
//
// Only while nothing runs in the background: RocksDB 7.8 takes the failure of
// an older flush for one of its own, gives up with a flush scheduled, forgets
// to schedule that flush again, and waits for it for ever in the next Resume.
absl::Status RocksdbStore::ResumeWhenThereIsSpace() {
  if (!errors_->out_of_space) return absl::OkStatus();
  if (auto space = CheckSpace(0); !space.ok()) return space;
  db_->PauseBackgroundWork().PermitUncheckedError();  // waits; always OK
  db_->ContinueBackgroundWork().PermitUncheckedError();
  errors_->out_of_space = false;  // before a flush that may set it again
  const rocksdb::Status resumed = db_->Resume();
  if (errors_->out_of_space || IsOnlyOutOfSpace(resumed)) {
    errors_->out_of_space = true;
    return OutOfSpaceError();
  }
  return resumed.ok() ? absl::OkStatus()
                      : Fail(FromRocksdb(resumed, directory_.path()));
}

// True if `status` says no more than that tables found no room.
bool RocksdbStore::IsOnlyOutOfSpace(const rocksdb::Status& status) const {
  return !errors_->others && (status.IsNoSpace() || status.IsIncomplete());
}

absl::Status RocksdbStore::OutOfSpaceError() const {
  return absl::ResourceExhaustedError(
      absl::StrCat(directory_.path(), ": no space for RocksDB's tables"));
}

absl::Status RocksdbStore::Write(const CommitBatch& batch) {
  if (!failure_.ok()) return failure_;
  if (batch.empty()) return absl::OkStatus();
  if (absl::Status resumed = ResumeWhenThereIsSpace(); !resumed.ok()) {
    return resumed;
  }
  rocksdb::WriteBatch writes(0, 0, kProtectionBytesPerKey, 0);
  rocksdb::Status status = AddDeletions(batch, &writes);
  if (status.ok()) status = AddPuts(batch, &writes);
  if (!status.ok()) return Fail(FromRocksdb(status, directory_.path()));
  absl::Status space = CheckSpace(writes.GetDataSize());
  if (absl::IsResourceExhausted(space)) return space;
  if (!space.ok()) return Fail(std::move(space));
  STREAMNORM_KILL_POINT("write.before");
  status = db_->Write(UnsyncedWrite(), &writes);
  STREAMNORM_KILL_POINT("write.after");
  if (status.ok()) return absl::OkStatus();
  if (IsFromBefore(status) && IsOnlyOutOfSpace(status)) {
    // Again: the flag may have been cleared just before RocksDB knew of it.
    errors_->out_of_space = true;
    return OutOfSpaceError();
  }
  return Fail(FromRocksdb(status, directory_.path()));
}

// The promise is made of what was written before the log is synced: batches
// written meanwhile may or may not be in it.
absl::Status RocksdbStore::Sync() {
  if (!failure_.ok()) return failure_;
  const uint64_t written = db_->GetLatestSequenceNumber();
  if (written == floor_.floor().sequence) return absl::OkStatus();
  const rocksdb::Status synced = db_->SyncWAL();
  if (!synced.ok()) return Fail(FromRocksdb(synced, directory_.path()));
  STREAMNORM_KILL_POINT("sync.log_synced");
  absl::Status stored = floor_.Store({meta_.history_id, written});
  STREAMNORM_KILL_POINT("sync.floor_stored");
  if (!stored.ok()) return Fail(std::move(stored));
  return stored;
}

// These two touch nothing that the committer changes: RocksDB is safe for
// concurrent use, and db_ and directory_ stay what they are.
absl::StatusOr<BackupSummary> RocksdbStore::Backup(
    const BackupOptions& options, const OnStoreProgress& on_progress) const {
  return WriteBackup(db_.get(), options, on_progress);
}

absl::StatusOr<VerifyReport> RocksdbStore::Verify(
    const OnStoreProgress& on_progress) const {
  VerifyReport report;
  absl::Status status = VerifyDatabase(db_.get(), on_progress, &report);
  if (!status.ok()) return status;
  return report;
}

absl::Status RocksdbStore::Fail(absl::Status status) {
  // kResourceExhausted would say that nothing was written.
  const absl::StatusCode code = absl::IsResourceExhausted(status)
                                    ? absl::StatusCode::kInternal
                                    : status.code();
  failure_ = absl::Status(
      code, absl::StrCat(status.message(), ": the store must be reopened"));
  return failure_;
}

// Both slots, so that none still says what it said before this start.
absl::StatusOr<FloorFile> StoreFloor(std::optional<FloorFile> file,
                                     const std::string& path,
                                     const Floor& floor) {
  if (!file) return FloorFile::Create(path, floor);
  absl::Status status = file->Store(floor);
  STREAMNORM_KILL_POINT("start.one_floor_slot");
  if (status.ok()) status = file->Store(floor);
  if (!status.ok()) return status;
  return *std::move(file);
}

// Writes the meta records of this incarnation and makes them, and all that was
// recovered, durable.
absl::StatusOr<FloorFile> Begin(const DataDirectory& directory,
                                std::optional<FloorFile> floor,
                                const StoreMeta& meta, rocksdb::DB* db) {
  STREAMNORM_KILL_POINT("start.recovered");
  absl::Status status = WriteMeta(meta, db);
  if (!status.ok()) return status;
  STREAMNORM_KILL_POINT("start.meta_written");
  const uint64_t written = db->GetLatestSequenceNumber();
#ifndef STREAMNORM_PLANT_UNSYNCED_RECOVERY
  status = FromRocksdb(db->SyncWAL(), directory.path());
#endif
  if (!status.ok()) return status;
  STREAMNORM_KILL_POINT("start.log_synced");
  return StoreFloor(std::move(floor), directory.floor_path(),
                    {meta.history_id, written});
}

}  // namespace

absl::StatusOr<std::unique_ptr<StatisticsStore>> OpenRocksdbStore(
    const RocksdbStoreOptions& options) {
  absl::StatusOr<DataDirectory> directory =
      DataDirectory::Open(options.data_dir);
  if (!directory.ok()) return directory.status();
  auto errors = std::make_shared<BackgroundErrors>();
  const rocksdb::Options db_options =
      DatabaseOptions(options.max_total_wal_bytes, errors);
  absl::StatusOr<Found> found = Look(*directory, db_options);
  if (!found.ok()) return found.status();
  const std::string loss = FindLoss(*found);
  const bool lost = !loss.empty();
  if (lost && !options.accept_data_loss) {
    return LossError(options.data_dir, loss);
  }
  if (!found->floor && !lost) {  // first of all files: see IsUnpromised
    absl::StatusOr<FloorFile> floor =
        FloorFile::Create(directory->floor_path(), {NewHistoryId(), 0});
    if (!floor.ok()) return floor.status();
    found->floor = *std::move(floor);
    STREAMNORM_KILL_POINT("first_start.floor_made");
  }
  absl::StatusOr<std::unique_ptr<rocksdb::DB>> db =
      OpenDatabase(directory->database_path(), db_options);
  if (!db.ok()) return db.status();
  if (!lost &&
      (*db)->GetLatestSequenceNumber() < found->floor->floor().sequence) {
    return LossError(options.data_dir, "db: recovered less than just before");
  }
  const absl::StatusOr<FoundMeta> found_meta =
      ReadMeta(db->get(), CheckedRead());
  if (!found_meta.ok()) return found_meta.status();
  const StoreMeta meta =
      NextMeta(*found_meta, lost,
               lost ? NewHistoryId() : found->floor->floor().history_id);
  absl::StatusOr<FloorFile> floor =
      Begin(*directory, std::move(found->floor), meta, db->get());
  if (!floor.ok()) return floor.status();
  STREAMNORM_KILL_POINT("start.promised");
  return std::make_unique<RocksdbStore>(
      *std::move(directory), options.max_total_wal_bytes, std::move(errors),
      *std::move(floor), meta, *std::move(db));
}

}  // namespace streamnorm
