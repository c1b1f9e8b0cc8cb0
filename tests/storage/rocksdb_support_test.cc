#include "storage/rocksdb_support.h"

#include <gtest/gtest.h>
#include <rocksdb/options.h>
#include <rocksdb/status.h>

#include <memory>

#include "absl/status/status.h"

namespace streamnorm {
namespace {

using rocksdb::Status;

TEST(FromRocksdbTest, OkIsOk) {
  EXPECT_TRUE(FromRocksdb(Status::OK(), "write").ok());
}

TEST(FromRocksdbTest, EveryCodeHasItsOwn) {
  const struct {
    Status status;
    absl::StatusCode code;
  } kCases[] = {
      {Status::NotFound("x"), absl::StatusCode::kNotFound},
      {Status::Corruption("x"), absl::StatusCode::kDataLoss},
      {Status::PathNotFound("x"), absl::StatusCode::kDataLoss},
      {Status::NotSupported("x"), absl::StatusCode::kFailedPrecondition},
      {Status::InvalidArgument("x"), absl::StatusCode::kFailedPrecondition},
      {Status::NoSpace("x"), absl::StatusCode::kResourceExhausted},
      {Status::IOError("While lock file: /x/LOCK: Resource busy"),
       absl::StatusCode::kUnavailable},
      {Status::IOError("While fdatasync: x"), absl::StatusCode::kInternal},
      {Status::Busy("x"), absl::StatusCode::kInternal},
      {Status::Aborted("x"), absl::StatusCode::kInternal},
      {Status::Incomplete("x"), absl::StatusCode::kInternal},
      {Status::ShutdownInProgress("x"), absl::StatusCode::kInternal},
      {Status::TimedOut("x"), absl::StatusCode::kInternal},
      {Status::TryAgain("x"), absl::StatusCode::kInternal},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(FromRocksdb(c.status, "w").code(), c.code) << c.status.ToString();
  }
}

TEST(FromRocksdbTest, MessageSaysWhatWasDoneAndWhatRocksdbSaid) {
  EXPECT_EQ(FromRocksdb(Status::Corruption("bad block"), "/data/db").message(),
            "/data/db: Corruption: bad block");
}

TEST(DatabaseOptionsTest, AreThoseOfTheDesign) {
  const rocksdb::Options options =
      DatabaseOptions(uint64_t{64} << 20, std::make_shared<BackgroundErrors>());
  EXPECT_EQ(options.wal_recovery_mode,
            rocksdb::WALRecoveryMode::kPointInTimeRecovery);
  EXPECT_FALSE(options.avoid_flush_during_recovery);
  EXPECT_TRUE(options.paranoid_checks);
  EXPECT_TRUE(options.verify_sst_unique_id_in_manifest);
  EXPECT_FALSE(options.track_and_verify_wals_in_manifest);
  EXPECT_EQ(options.memtable_protection_bytes_per_key, 8u);
  EXPECT_EQ(options.wal_bytes_per_sync, 0u);
  EXPECT_EQ(options.recycle_log_file_num, 0u);
  EXPECT_FALSE(options.manual_wal_flush);
  EXPECT_EQ(options.max_total_wal_size, uint64_t{64} << 20);
  EXPECT_FALSE(UnsyncedWrite().sync);
  EXPECT_EQ(UnsyncedWrite().protection_bytes_per_key, 8u);
}

TEST(DatabaseOptionsTest, MemtablesTogetherFitTheLogLimit) {
  const rocksdb::Options options =
      DatabaseOptions(uint64_t{64} << 20, std::make_shared<BackgroundErrors>());
  EXPECT_LE(options.write_buffer_size *
                static_cast<uint64_t>(options.max_write_buffer_number),
            uint64_t{64} << 20);
}

}  // namespace
}  // namespace streamnorm
