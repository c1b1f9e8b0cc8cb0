#include "storage/rocksdb_recovery.h"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/key_codec.h"
#include "storage/record_codec.h"
#include "storage/rocksdb_support.h"

namespace streamnorm {
namespace {

// Raised together with the version of any record (docs/storage_format.md).
constexpr uint64_t kStoreFormat = 2;

// Reads the record under `key` with `decode` into `*result`. Absent and damaged
// records are for `*meta`; an error is for the caller.
template <typename T>
absl::Status ReadMetaRecord(
    rocksdb::DB* db, const rocksdb::ReadOptions& options, std::string_view key,
    absl::StatusOr<T> (*decode)(std::string_view, std::string_view),
    FoundMeta* meta, std::optional<T>* result) {
  std::string value;
  const rocksdb::Status read = db->Get(options, SliceOf(key), &value);
  if (!read.ok() && !read.IsNotFound()) return FromRocksdb(read, "read");
  if (read.ok()) {
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

absl::Status InspectDatabase(const rocksdb::Options& options,
                             const std::string& path, Found* found) {
  const absl::StatusOr<std::unique_ptr<rocksdb::DB>> db =
      OpenDatabaseReadOnly(path, options);
  if (!db.ok()) return db.status();
  found->sequence = (*db)->GetLatestSequenceNumber();
  absl::StatusOr<FoundMeta> meta = ReadMeta(db->get(), CheckedRead());
  if (!meta.ok()) return meta.status();
  found->meta = *std::move(meta);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FoundMeta> ReadMeta(rocksdb::DB* db,
                                   const rocksdb::ReadOptions& options) {
  FoundMeta meta;
  std::optional<uint64_t> format;
  absl::Status status =
      ReadMetaRecord(db, options, kFormatKey, DecodeNumber, &meta, &format);
  if (status.ok()) status = CheckFormat(format);
  if (status.ok()) {
    status = ReadMetaRecord(db, options, kHistoryKey, DecodeHistory, &meta,
                            &meta.history_id);
  }
  if (status.ok()) {
    status = ReadMetaRecord(db, options, kIncarnationKey, DecodeNumber, &meta,
                            &meta.incarnation);
  }
  if (status.ok()) {
    status = ReadMetaRecord(db, options, kNextGenerationKey, DecodeNumber,
                            &meta, &meta.next_generation);
  }
  if (!status.ok()) return status;
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

absl::StatusOr<Found> Look(const DataDirectory& directory,
                           const rocksdb::Options& options,
                           FloorAccess access) {
  Found found;
  absl::StatusOr<std::optional<FloorFile>> floor =
      FloorFile::Open(directory.floor_path(), access);
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

}  // namespace streamnorm
