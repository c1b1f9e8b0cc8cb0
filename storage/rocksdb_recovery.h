#ifndef STREAMNORM_STORAGE_ROCKSDB_RECOVERY_H_
#define STREAMNORM_STORAGE_ROCKSDB_RECOVERY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/data_directory.h"
#include "storage/floor_file.h"
#include "storage/records.h"

namespace rocksdb {
class DB;
struct Options;
struct ReadOptions;
}  // namespace rocksdb

namespace streamnorm {

// After a loss the generations given out last may be forgotten; new ones start
// this far ahead, so that no update born in a forgotten one can ever fit.
inline constexpr uint64_t kGenerationGap = uint64_t{1} << 32;

// The store's own four records.
struct StoreMeta {
  HistoryId history_id{};
  uint64_t incarnation = 0;
  uint64_t next_generation = 1;
};

// What of them could be read.
struct FoundMeta {
  std::optional<HistoryId> history_id;
  std::optional<uint64_t> incarnation;
  std::optional<uint64_t> next_generation;
  std::string damage;  // the first record that could not
};

// kFailedPrecondition: a newer version wrote the store.
absl::StatusOr<FoundMeta> ReadMeta(rocksdb::DB* db,
                                   const rocksdb::ReadOptions& options);

// Not synced.
absl::Status WriteMeta(const StoreMeta& meta, rocksdb::DB* db);

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

absl::StatusOr<Found> Look(const DataDirectory& directory,
                           const rocksdb::Options& options,
                           FloorAccess access = FloorAccess::kReadWrite);

// How what was found falls short of what was promised; empty = it does not.
std::string FindLoss(const Found& found);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_ROCKSDB_RECOVERY_H_
