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
#include "storage/posix_file.h"
#include "storage/record_codec.h"
#include "storage/rocksdb_support.h"

namespace streamnorm {
namespace {

// Raised together with the version of any record (docs/storage_format.md).
constexpr uint64_t kStoreFormat = 1;

// After a loss the generations given out last may be forgotten; new ones start
// this far ahead, so that no update born in a forgotten one can ever fit.
constexpr uint64_t kGenerationGap = uint64_t{1} << 32;

// Slices do not own: the key or value must outlive the call.
rocksdb::Slice SliceOf(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}

std::string_view ViewOf(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

rocksdb::ReadOptions CheckedRead() {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  return options;
}

// The store's own four records.
struct StoreMeta {
  HistoryId history_id{};
  uint64_t incarnation = 0;
  uint64_t next_generation = 1;
};

// What of them could be read.
struct FoundMeta {
  bool any = false;
  std::optional<HistoryId> history_id;
  std::optional<uint64_t> incarnation;
  std::optional<uint64_t> next_generation;
  std::string damage;  // the first record that could not
};

// Reads the record under `key` with `decode` into `*result`. Absent and damaged
// records are for `*meta`; an error is for the caller.
template <typename T>
absl::Status ReadMetaRecord(rocksdb::DB* db, std::string_view key,
                            absl::StatusOr<T> (*decode)(std::string_view,
                                                        std::string_view),
                            FoundMeta* meta, std::optional<T>* result) {
  std::string value;
  const rocksdb::Status read = db->Get(CheckedRead(), SliceOf(key), &value);
  if (!read.ok() && !read.IsNotFound()) return FromRocksdb(read, "read");
  if (read.ok()) {
    meta->any = true;
    absl::StatusOr<T> decoded = decode(key, value);
    if (absl::IsFailedPrecondition(decoded.status())) return decoded.status();
    if (decoded.ok()) {
      *result = *decoded;
    } else if (meta->damage.empty()) {
      meta->damage = std::string(decoded.status().message());
    }
  } else if (meta->damage.empty()) {
    meta->damage = absl::StrCat(std::string(key), ": missing");
  }
  return absl::OkStatus();
}

absl::Status CheckFormat(const std::optional<uint64_t>& format) {
  if (!format || *format <= kStoreFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("store format: ", *format, ", want at most ", kStoreFormat,
                   ": written by a newer version of this program"));
}

absl::StatusOr<FoundMeta> ReadMeta(rocksdb::DB* db) {
  FoundMeta meta;
  std::optional<uint64_t> format;
  absl::Status status =
      ReadMetaRecord(db, kFormatKey, DecodeNumber, &meta, &format);
  if (status.ok()) status = CheckFormat(format);
  if (status.ok()) {
    status =
        ReadMetaRecord(db, kHistoryKey, DecodeHistory, &meta, &meta.history_id);
  }
  if (status.ok()) {
    status = ReadMetaRecord(db, kIncarnationKey, DecodeNumber, &meta,
                            &meta.incarnation);
  }
  if (status.ok()) {
    status = ReadMetaRecord(db, kNextGenerationKey, DecodeNumber, &meta,
                            &meta.next_generation);
  }
  if (!status.ok()) return status;
  return meta;
}

// What is on disk, looked at without changing it: opening a database for
// writing throws away what can't be recovered, and with it what a person might
// still repair.
struct Found {
  std::optional<FloorFile> floor;
  std::string floor_damage;
  bool has_database = false;
  uint64_t sequence = 0;  // recovered
  FoundMeta meta;

  // No start ever got through: nothing was promised.
  bool IsUnpromised() const {
    if (floor) return floor->floor().sequence == 0;
    return floor_damage.empty() && !has_database;
  }
};

absl::Status InspectDatabase(const rocksdb::Options& options,
                             const std::string& path, Found* found) {
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
  const std::unique_ptr<rocksdb::DB> db(opened);
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    db->DestroyColumnFamilyHandle(handle);
  }
  found->sequence = db->GetLatestSequenceNumber();
  absl::StatusOr<FoundMeta> meta = ReadMeta(db.get());
  if (!meta.ok()) return meta.status();
  found->meta = *std::move(meta);
  return absl::OkStatus();
}

absl::StatusOr<Found> Look(const DataDirectory& directory,
                           const rocksdb::Options& options) {
  Found found;
  absl::StatusOr<std::optional<FloorFile>> floor =
      FloorFile::Open(directory.floor_path());
  if (absl::IsDataLoss(floor.status())) {
    found.floor_damage = std::string(floor.status().message());
  } else if (!floor.ok()) {
    return floor.status();
  } else {
    found.floor = *std::move(floor);
  }
  const absl::StatusOr<bool> has_database = directory.HasDatabase();
  if (!has_database.ok()) return has_database.status();
  found.has_database = *has_database;
  if (found.has_database && !found.IsUnpromised()) {
    absl::Status status =
        InspectDatabase(options, directory.database_path(), &found);
    if (!status.ok()) return status;
  }
  return found;
}

// How what was found falls short of what was promised; empty = it does not.
std::string FindLoss(const Found& found) {
  if (found.IsUnpromised()) return "";
  if (!found.floor) {
    return found.floor_damage.empty() ? "FLOOR: missing, but there is a db/"
                                      : found.floor_damage;
  }
  const Floor& floor = found.floor->floor();
  if (found.sequence < floor.sequence) {
    return absl::StrCat("db: recovered up to sequence ", found.sequence,
                        ", but FLOOR promised ", floor.sequence);
  }
  if (!found.meta.damage.empty()) return found.meta.damage;
  if (found.meta.history_id != floor.history_id) {
    return absl::StrCat("db: of history ", HexOf(*found.meta.history_id),
                        ", want ", HexOf(floor.history_id), " as FLOOR says");
  }
  return "";
}

absl::Status LossError(const std::string& path, const std::string& loss) {
  return absl::DataLossError(absl::StrCat(
      path, ": ", loss,
      ": restore a backup, or start with --accept_data_loss to go on with what "
      "is left under a new history"));
}

absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabase(
    const DataDirectory& directory, const rocksdb::Options& options) {
  absl::Status status = CreateDirectory(directory.database_path());
  if (!status.ok()) return status;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::Open(options, directory.database_path(), &db);
  if (!opened.ok()) return FromRocksdb(opened, directory.database_path());
  return std::unique_ptr<rocksdb::DB>(db);
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

absl::Status WriteMeta(const StoreMeta& meta, rocksdb::DB* db) {
  rocksdb::WriteBatch batch(0, 0, kProtectionBytesPerKey, 0);
  std::string value;
  rocksdb::Status status;
  const auto put = [&](std::string_view key) {
    if (status.ok()) status = batch.Put(SliceOf(key), value);
  };
  EncodeNumber(kFormatKey, kStoreFormat, &value);
  put(kFormatKey);
  EncodeHistory(kHistoryKey, meta.history_id, &value);
  put(kHistoryKey);
  EncodeNumber(kIncarnationKey, meta.incarnation, &value);
  put(kIncarnationKey);
  EncodeNumber(kNextGenerationKey, meta.next_generation, &value);
  put(kNextGenerationKey);
  if (status.ok()) status = db->Write(UnsyncedWrite(), &batch);
  return FromRocksdb(status, "write");
}

// Not thread safe, but for FreeBytes.
class RocksdbStore : public StatisticsStore {
 public:
  RocksdbStore(DataDirectory directory, uint64_t reserve_bytes,
               std::shared_ptr<OutOfSpace> out_of_space, FloorFile floor,
               const StoreMeta& meta, std::unique_ptr<rocksdb::DB> db)
      : directory_(std::move(directory)),
        reserve_bytes_(reserve_bytes),
        out_of_space_(std::move(out_of_space)),
        floor_(std::move(floor)),
        meta_(meta),
        db_(std::move(db)) {}

  std::string_view kind() const override { return "rocksdb"; }
  absl::StatusOr<StoreContents> Load() override;
  absl::Status Write(const CommitBatch& batch) override;
  absl::Status Sync() override;
  absl::StatusOr<uint64_t> FreeBytes() const override {
    return FreeBytesAt(directory_.path());
  }

 private:
  rocksdb::Status AddDeletions(const CommitBatch& batch,
                               rocksdb::WriteBatch* writes);
  rocksdb::Status DeleteLedgers(const std::string& normalizer_id,
                                rocksdb::WriteBatch* writes);
  absl::Status CheckSpace(uint64_t bytes) const;
  absl::Status Fail(absl::Status status);

  const DataDirectory directory_;  // outlives db_: it has the lock
  const uint64_t reserve_bytes_;
  const std::shared_ptr<OutOfSpace> out_of_space_;
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
// normalizer has few ledgers.
rocksdb::Status RocksdbStore::DeleteLedgers(const std::string& normalizer_id,
                                            rocksdb::WriteBatch* writes) {
  const std::string prefix = LedgerPrefix(normalizer_id);
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
    if (status.ok()) status = DeleteLedgers(id, writes);
  }
  for (const SessionId& id : batch.deleted_sessions) {
    if (status.ok()) status = writes->Delete(SessionKey(id));
  }
  for (const auto& [id, session] : batch.deleted_ledgers) {
    if (status.ok()) status = writes->Delete(LedgerKey(id, session));
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

absl::Status RocksdbStore::Write(const CommitBatch& batch) {
  if (!failure_.ok()) return failure_;
  if (batch.empty()) return absl::OkStatus();
  if (*out_of_space_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(directory_.path(), ": RocksDB waits for space"));
  }
  rocksdb::WriteBatch writes(0, 0, kProtectionBytesPerKey, 0);
  rocksdb::Status status = AddDeletions(batch, &writes);
  if (status.ok()) status = AddPuts(batch, &writes);
  if (!status.ok()) return Fail(FromRocksdb(status, directory_.path()));
  absl::Status space = CheckSpace(writes.GetDataSize());
  if (absl::IsResourceExhausted(space)) return space;
  if (!space.ok()) return Fail(std::move(space));
  status = db_->Write(UnsyncedWrite(), &writes);
  if (status.ok()) return absl::OkStatus();
  absl::Status failure = FromRocksdb(status, directory_.path());
  // A flush that found no space stops RocksDB before it writes.
  if (absl::IsResourceExhausted(failure) && *out_of_space_) {
    return failure;
  }
  return Fail(std::move(failure));
}

// The promise is made of what was written before the log is synced: batches
// written meanwhile may or may not be in it.
absl::Status RocksdbStore::Sync() {
  if (!failure_.ok()) return failure_;
  const uint64_t written = db_->GetLatestSequenceNumber();
  if (written == floor_.floor().sequence) return absl::OkStatus();
  const rocksdb::Status synced = db_->SyncWAL();
  if (!synced.ok()) return Fail(FromRocksdb(synced, directory_.path()));
  absl::Status stored = floor_.Store({meta_.history_id, written});
  if (!stored.ok()) return Fail(std::move(stored));
  return stored;
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
  if (status.ok()) status = file->Store(floor);
  if (!status.ok()) return status;
  return *std::move(file);
}

// Writes the meta records of this incarnation and makes them, and all that was
// recovered, durable.
absl::StatusOr<FloorFile> Begin(const DataDirectory& directory,
                                std::optional<FloorFile> floor,
                                const StoreMeta& meta, rocksdb::DB* db) {
  absl::Status status = WriteMeta(meta, db);
  if (!status.ok()) return status;
  const uint64_t written = db->GetLatestSequenceNumber();
  status = FromRocksdb(db->SyncWAL(), directory.path());
  if (!status.ok()) return status;
  return StoreFloor(std::move(floor), directory.floor_path(),
                    {meta.history_id, written});
}

}  // namespace

absl::StatusOr<std::unique_ptr<StatisticsStore>> OpenRocksdbStore(
    const RocksdbStoreOptions& options) {
  absl::StatusOr<DataDirectory> directory =
      DataDirectory::Open(options.data_dir);
  if (!directory.ok()) return directory.status();
  auto out_of_space = std::make_shared<OutOfSpace>(false);
  const rocksdb::Options db_options =
      DatabaseOptions(options.max_total_wal_bytes, out_of_space);
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
  }
  absl::StatusOr<std::unique_ptr<rocksdb::DB>> db =
      OpenDatabase(*directory, db_options);
  if (!db.ok()) return db.status();
  if (!lost &&
      (*db)->GetLatestSequenceNumber() < found->floor->floor().sequence) {
    return LossError(options.data_dir, "db: recovered less than just before");
  }
  const absl::StatusOr<FoundMeta> found_meta = ReadMeta(db->get());
  if (!found_meta.ok()) return found_meta.status();
  const StoreMeta meta =
      NextMeta(*found_meta, lost,
               lost ? NewHistoryId() : found->floor->floor().history_id);
  absl::StatusOr<FloorFile> floor =
      Begin(*directory, std::move(found->floor), meta, db->get());
  if (!floor.ok()) return floor.status();
  return std::make_unique<RocksdbStore>(
      *std::move(directory), options.max_total_wal_bytes,
      std::move(out_of_space), *std::move(floor), meta, *std::move(db));
}

}  // namespace streamnorm
