// Backups, restoring and verifying, below the server.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "storage/key_codec.h"
#include "storage/rocksdb_offline.h"
#include "tests/storage/record_builders.h"
#include "tests/storage/store_fixture.h"
#include "tests/testing/child_process.h"
#include "tests/testing/tamper.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::Each;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::NotNull;
using testing::SizeIs;

absl::Status GoOn(const StoreProgress&) { return absl::OkStatus(); }

CommitBatch Both(CommitBatch a, const CommitBatch& b) {
  a.definitions.push_back(b.definitions[0]);
  a.states.push_back(b.states[0]);
  a.sessions.push_back(b.sessions[0]);
  a.ledgers.push_back(b.ledgers[0]);
  return a;
}

std::string MessageOf(const absl::Status& status) {
  return std::string(status.message());
}

class BackupTest : public RocksdbStoreFixture {
 protected:
  absl::StatusOr<BackupSummary> Backup(uint64_t min_free_bytes = 0) {
    return store_->Backup({backup_, min_free_bytes}, GoOn);
  }

  void MustBackup() {
    const auto summary = Backup();
    ASSERT_TRUE(summary.ok()) << summary.status();
  }

  absl::StatusOr<BackupSummary> Restore() {
    return RestoreBackup(backup_, restored_, GoOn);
  }

  absl::StatusOr<VerifyReport> Verify(const std::string& path) {
    return VerifyDataDirectory(path, GoOn);
  }

  // What the restored store has; it is closed again.
  StoreContents MustLoadRestored() {
    const Store store = OpenRocksdbStore({.data_dir = restored_}).value();
    return store->Load().value();
  }

  // An open store with one normalizer, in a table, and a backup of it.
  void KeepAndBackup() {
    Keep(BatchOf("layer3", 1, 5));
    MustLoad();
    MustBackup();
  }

  // Changes a database behind the store's back.
  static void Edit(const std::string& path,
                   const std::function<void(rocksdb::DB*)>& edit) {
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(
        rocksdb::DB::Open(rocksdb::Options(), path + "/db", &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    edit(db.get());
  }

  std::string TableOf(const std::string& path) const {
    for (const auto& entry : fs::directory_iterator(path + "/db")) {
      if (entry.path().extension() == ".sst") return entry.path();
    }
    ADD_FAILURE() << path << ": no table";
    return "";
  }

  std::map<std::string, std::string> FilesOf(const std::string& path) {
    const std::string before = std::exchange(options_.data_dir, path);
    const auto files = AllFiles();
    options_.data_dir = before;
    return files;
  }

  const std::string backup_ = dir_ / "backup";
  const std::string restored_ = dir_ / "restored";
};

// ---- What is in a backup. ----

TEST_F(BackupTest, RestoredStoreHasTheSameRecordsUnderANewHistory) {
  const CommitBatch batch = BatchOf("layer3", 1, 5);
  Keep(batch);
  const StoreContents before = MustLoad();
  const auto made = Backup();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->history_id, before.history_id);
  EXPECT_EQ(made->normalizers, 1u);
  EXPECT_EQ(made->sessions, 1u);
  EXPECT_EQ(made->records, 4u);  // and a state and a ledger
  EXPECT_GT(made->bytes, 0u);

  const auto restored = Restore();
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_NE(restored->history_id, before.history_id);
  const StoreContents contents = MustLoadRestored();
  EXPECT_EQ(contents.history_id, restored->history_id);
  EXPECT_EQ(contents.incarnation, before.incarnation + 1);
  EXPECT_GT(contents.next_generation, before.next_generation);
  EXPECT_EQ(contents.sessions, batch.sessions);
  const auto* found = Find(contents, "layer3");
  ASSERT_THAT(found, NotNull());
  EXPECT_EQ(found->definition, batch.definitions[0]);
  EXPECT_TRUE(SameState(found->state, batch.states[0]));
  EXPECT_EQ(found->ledgers, batch.ledgers);
}

TEST_F(BackupTest, EveryRestoreIsAHistoryOfItsOwn) {
  KeepAndBackup();
  const auto first = Restore();
  ASSERT_TRUE(first.ok()) << first.status();
  fs::remove_all(restored_);
  const auto second = Restore();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(first->history_id, second->history_id);
}

TEST_F(BackupTest, EmptyStoreCanBeRestored) {
  MustLoad();
  MustBackup();
  ASSERT_TRUE(Restore().ok());
  EXPECT_THAT(MustLoadRestored().normalizers, IsEmpty());
}

TEST_F(BackupTest, WhatIsWrittenButNotSyncedIsInIt) {
  MustLoad();
  ASSERT_TRUE(store_->Write(BatchOf("layer3", 1, 5)).ok());
  MustBackup();
  ASSERT_TRUE(Restore().ok());
  EXPECT_THAT(Find(MustLoadRestored(), "layer3"), NotNull());
}

TEST_F(BackupTest, LaterWritesChangeNoByteOfIt) {
  KeepAndBackup();
  const auto before = FilesOf(backup_);
  for (uint64_t rows = 6; rows < 30; ++rows) {
    ASSERT_TRUE(store_->Write(BatchOf("layer3", 1, rows)).ok());
    ASSERT_TRUE(store_->Sync().ok());
  }
  MustLoad();
  EXPECT_EQ(FilesOf(backup_), before);
}

TEST_F(BackupTest, RestoringChangesNoByteOfItAndSharesNone) {
  KeepAndBackup();
  const auto before = FilesOf(backup_);
  ASSERT_TRUE(Restore().ok());
  for (const auto& [path, bytes] : FilesOf(restored_)) {
    EXPECT_EQ(fs::hard_link_count(path), 1u) << path;
  }
  MustLoadRestored();
  EXPECT_EQ(FilesOf(backup_), before);
}

TEST_F(BackupTest, ManyTablesAreOneStore) {
  MustLoad();
  constexpr int kWide = 60;
  constexpr size_t kFeatures = 50'000;  // 2.4 MB each: more than two tables
  for (int i = 0; i < kWide; ++i) {
    const std::string id = absl::StrCat("n", i);
    CommitBatch batch;
    batch.definitions.push_back(DefinitionOf(id, kFeatures));
    batch.definitions[0].feature_names.clear();
    batch.states.push_back(StateOf(id, kFeatures, 2));
    ASSERT_TRUE(store_->Write(batch).ok());
  }
  MustBackup();
  size_t tables = 0;
  for (const auto& entry : fs::directory_iterator(backup_ + "/db")) {
    tables += entry.path().extension() == ".sst" ? 1 : 0;
  }
  EXPECT_GT(tables, 2u);
  ASSERT_TRUE(Restore().ok());
  const StoreContents contents = MustLoadRestored();
  ASSERT_THAT(contents.normalizers, SizeIs(kWide));
  for (const auto& normalizer : contents.normalizers) {
    EXPECT_TRUE(SameState(normalizer.state,
                          StateOf(normalizer.definition.id, kFeatures, 2)));
  }
}

// Batch i counts i rows in each of two normalizers, so rows that differ are
// part of a batch, and their number says how far the backup goes.
TEST_F(BackupTest, UnderAWritingCommitterItIsAPrefixWithAllThatWasDurable) {
  options_.max_total_wal_bytes = uint64_t{256} << 10;  // tables come and go
  MustLoad();
  std::atomic<uint64_t> durable{0};
  std::atomic<uint64_t> begun{0};
  std::atomic<bool> stop{false};
  std::thread committer([&] {
    for (uint64_t i = 1; !stop; ++i) {
      begun = i;
      const auto batch = Both(BatchOf("a", 1, i), BatchOf("b", 2, i));
      ASSERT_TRUE(store_->Write(batch).ok());
      if (i % 3 != 0) continue;
      ASSERT_TRUE(store_->Sync().ok());
      durable = i;
    }
  });
  while (durable == 0) std::this_thread::yield();
  for (int i = 0; i < 8; ++i) {
    const uint64_t at_least = durable;
    MustBackup();
    const uint64_t at_most = begun;
    const auto report = store_->Verify(GoOn);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->clean()) << report->damaged[0].problem;
    ASSERT_TRUE(Restore().ok());
    const StoreContents contents = MustLoadRestored();
    EXPECT_THAT(contents.quarantined, IsEmpty());
    const auto* a = Find(contents, "a");
    const auto* b = Find(contents, "b");
    ASSERT_THAT(a, NotNull());
    ASSERT_THAT(b, NotNull());
    const uint64_t rows = a->state.moments.row_count();
    EXPECT_GE(rows, at_least);
    EXPECT_LE(rows, at_most);
    EXPECT_TRUE(SameState(a->state, BatchOf("a", 1, rows).states[0]));
    EXPECT_TRUE(SameState(b->state, BatchOf("b", 2, rows).states[0]));
    fs::remove_all(backup_);
    fs::remove_all(restored_);
  }
  stop = true;
  committer.join();
}

TEST_F(BackupTest, QuarantinedRecordsAreKeptAsTheyAre) {
  Keep(Both(BatchOf("bad", 1, 4), BatchOf("good", 2, 5)));
  FlipBitUnder(DatabasePath(), StateKey("bad"));
  MustLoad();
  MustBackup();
  const auto restored = Restore();
  ASSERT_TRUE(restored.ok()) << restored.status();
  const StoreContents contents = MustLoadRestored();
  EXPECT_THAT(Find(contents, "good"), NotNull());
  ASSERT_THAT(contents.quarantined, SizeIs(1));
  EXPECT_EQ(contents.quarantined[0].id, "bad");
}

// ---- What is refused. ----

TEST_F(BackupTest, ServerOnABackupIsRefusedAndToldWhatToDo) {
  KeepAndBackup();
  const auto before = FilesOf(backup_);
  for (const bool accept_data_loss : {false, true}) {
    const auto status = OpenRocksdbStore({.data_dir = backup_,
                                          .accept_data_loss = accept_data_loss})
                            .status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(MessageOf(status),
                AllOf(HasSubstr(backup_), HasSubstr("--restore_from")));
  }
  EXPECT_EQ(FilesOf(backup_), before);
}

TEST_F(BackupTest, TakenNameIsRefusedAndLeftAlone) {
  KeepAndBackup();
  const auto before = FilesOf(backup_);
  const auto status = Backup().status();
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_THAT(MessageOf(status), HasSubstr(backup_));
  EXPECT_EQ(FilesOf(backup_), before);
}

TEST_F(BackupTest, TooLittleSpaceIsRefusedWithBothNumbers) {
  Keep(BatchOf("layer3", 1, 5));
  MustLoad();
  constexpr uint64_t kMoreThanAnyDisk = uint64_t{1} << 62;
  const auto status = Backup(kMoreThanAnyDisk).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(MessageOf(status),
              AllOf(HasSubstr("bytes free, want 46116"), HasSubstr(backup_)));
  EXPECT_THAT(FilesOf(dir_.path()),
              Each(testing::Pair(HasSubstr("/data/"), testing::_)));
  EXPECT_TRUE(store_->Write(BatchOf("layer3", 1, 6)).ok());
}

TEST_F(BackupTest, EndedOneLeavesNothing) {
  Keep(BatchOf("layer3", 1, 5));
  MustLoad();
  const auto status = store_
                          ->Backup({.path = backup_},
                                   [](const StoreProgress&) {
                                     return absl::CancelledError("enough");
                                   })
                          .status();
  EXPECT_EQ(status, absl::CancelledError("enough"));
  EXPECT_FALSE(fs::exists(backup_));
  EXPECT_FALSE(fs::exists(backup_ + ".tmp"));
  MustBackup();
}

TEST_F(BackupTest, RestoringIntoAFilledDirectoryIsRefusedAndLeavesItAlone) {
  KeepAndBackup();
  fs::create_directory(restored_);
  WriteFile(restored_ + "/thesis.tex", "mine");
  const auto status = Restore().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(MessageOf(status), HasSubstr("thesis.tex"));
  EXPECT_THAT(FilesOf(restored_), SizeIs(1));
}

TEST_F(BackupTest, RestoringIntoAnEmptyDirectoryIsFine) {
  KeepAndBackup();
  fs::create_directories(restored_ + "/lost+found");
  ASSERT_TRUE(Restore().ok());
  EXPECT_THAT(Find(MustLoadRestored(), "layer3"), NotNull());
}

TEST_F(BackupTest, RestoringWhatIsNoBackupIsRefused) {
  Keep(BatchOf("layer3", 1, 5));
  const auto status =
      RestoreBackup(options_.data_dir, restored_, GoOn).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(MessageOf(status), HasSubstr("BACKUP"));
  EXPECT_FALSE(fs::exists(restored_));
  const auto absent = RestoreBackup(dir_ / "none", restored_, GoOn).status();
  EXPECT_TRUE(absl::IsNotFound(absent)) << absent;
}

TEST_F(BackupTest, RestoreThatWasCutShortIsRefusedByAllButSaysWhy) {
  KeepAndBackup();
  ASSERT_TRUE(Restore().ok());
  WriteFile(restored_ + "/RESTORING", "");
  for (const absl::Status& status :
       {OpenRocksdbStore({.data_dir = restored_, .accept_data_loss = true})
            .status(),
        Verify(restored_).status(), Restore().status()}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(MessageOf(status), HasSubstr("cut short"));
  }
}

// ---- A crash. ----

TEST_F(BackupTest, KilledAtAnyMomentItIsWholeOrNotThere) {
  Keep(BatchOf("layer3", 1, 5));
  constexpr int kKills = 8;
  int whole = 0;
  for (int i = 0; i < kKills; ++i) {
    {
      ChildProcess child("BackupTest.DISABLED_BacksUp", dir_.path());
      ASSERT_TRUE(child.Listen());
      std::this_thread::sleep_for(std::chrono::milliseconds(10 * i));
      child.Kill();
    }
    MustLoad();
    if (fs::exists(backup_)) {
      ++whole;
    } else {
      const auto draft =
          RestoreBackup(backup_ + ".tmp", restored_, GoOn).status();
      if (draft.ok()) fs::remove_all(restored_);  // only its name was missing
      MustBackup();
    }
    EXPECT_FALSE(fs::exists(backup_ + ".tmp"));
    ASSERT_TRUE(Restore().ok());
    EXPECT_THAT(Find(MustLoadRestored(), "layer3"), NotNull());
    fs::remove_all(backup_);
    fs::remove_all(restored_);
    Close();
  }
  EXPECT_LT(whole, kKills) << "none was killed in the middle";
}

TEST_F(BackupTest, DISABLED_BacksUp) {
  const Store store =
      OpenRocksdbStore({.data_dir = ChildArgument() + "/data"}).value();
  TellParent(1);
  const auto summary =
      store->Backup({.path = ChildArgument() + "/backup"}, GoOn);
  ASSERT_TRUE(summary.ok()) << summary.status();
}

// ---- Damage. ----

TEST_F(BackupTest, EveryFlippedByteIsFoundAndNotRestored) {
  KeepAndBackup();
  Close();
  constexpr size_t kFooter = 53;  // of a table; some of it is padding
  const std::string table = TableOf(backup_);
  for (const auto& [path, unused] :
       {std::pair(table, kFooter), std::pair(backup_ + "/BACKUP", size_t{0})}) {
    const std::string whole = ReadFile(path);
    for (size_t offset = 0; offset < whole.size() - unused; offset += 23) {
      FlipByte(path, offset);
      const auto report = Verify(backup_);
      EXPECT_TRUE(report.ok() ? !report->clean()
                              : absl::IsDataLoss(report.status()))
          << path << " " << offset << ": " << report.status();
      const auto status = Restore().status();
      EXPECT_TRUE(absl::IsDataLoss(status)) << path << " " << offset << status;
      EXPECT_TRUE(!fs::exists(restored_) || fs::is_empty(restored_));
      WriteFile(path, whole);
    }
  }
  EXPECT_TRUE(Verify(backup_)->clean());
}

TEST_F(BackupTest, RecordThatIsGoneFromItIsFoundAndNotRestored) {
  Keep(Both(BatchOf("layer3", 1, 5), BatchOf("layer4", 2, 5)));
  MustLoad();
  MustBackup();
  Edit(backup_, [](rocksdb::DB* db) {
    ASSERT_TRUE(db->Delete({}, DefinitionKey("layer4")).ok());
    ASSERT_TRUE(db->Delete({}, StateKey("layer4")).ok());
    ASSERT_TRUE(db->Delete({}, LedgerKey("layer4", SessionNamed(2))).ok());
  });
  const auto report = Verify(backup_);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_THAT(report->damaged, SizeIs(1));
  EXPECT_THAT(report->damaged[0].problem, HasSubstr("put into the backup"));
  const auto status = Restore().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_TRUE(fs::is_empty(restored_));
}

TEST_F(BackupTest, BackupWithoutAPieceIsNotRestored) {
  KeepAndBackup();
  Close();
  const std::string whole = dir_ / "whole";
  fs::rename(backup_, whole);
  for (const char* piece : {"FLOOR", "db", "BACKUP"}) {
    CopyDirectory(whole, backup_);
    fs::remove_all(backup_ + "/" + piece);
    EXPECT_FALSE(Restore().ok()) << piece;
    EXPECT_FALSE(fs::exists(restored_)) << piece;
    fs::remove_all(backup_);
  }
}

TEST_F(BackupTest, DamagedBlockOfTheOpenStoreIsFoundAndNotBackedUp) {
  Keep(BatchOf("layer3", 1, 5));
  MustLoad();
  FlipByte(TableOf(options_.data_dir), 100);
  const auto report = store_->Verify(GoOn);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_FALSE(report->clean());
  EXPECT_THAT(report->damaged[0].problem,
              AllOf(HasSubstr("db/"), HasSubstr(".sst")));
  const auto status = Backup().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_FALSE(fs::exists(backup_));
  EXPECT_FALSE(fs::exists(backup_ + ".tmp"));
}

TEST_F(BackupTest, DamagedRecordIsFoundByNameOpenAndClosed) {
  Keep(Both(BatchOf("bad", 1, 4), BatchOf("good", 2, 5)));
  FlipBitUnder(DatabasePath(), StateKey("bad"));
  const auto expect_bad = [](const absl::StatusOr<VerifyReport>& report) {
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->records, 8u);
    EXPECT_EQ(report->normalizers, 2u);
    EXPECT_EQ(report->sessions, 2u);
    EXPECT_EQ(report->ledgers, 2u);
    ASSERT_THAT(report->damaged, SizeIs(1));
    EXPECT_EQ(report->damaged[0].normalizer_id, "bad");
    EXPECT_THAT(report->damaged[0].problem,
                HasSubstr("state of normalizers/bad: checksum"));
  };
  expect_bad(Verify(options_.data_dir));
  MustLoad();
  expect_bad(store_->Verify(GoOn));
}

TEST_F(BackupTest, ContradictionIsFound) {
  CommitBatch batch = BatchOf("layer3", 1, 5);
  batch.sessions.clear();
  Keep(batch);
  const auto report = Verify(options_.data_dir);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->damaged,
              testing::ElementsAre(AllOf(
                  Field(&DamagedRecord::normalizer_id, "layer3"),
                  Field(&DamagedRecord::problem, HasSubstr("is missing")))));
}

TEST_F(BackupTest, StoreThatLostSomethingIsDamaged) {
  Keep(BatchOf("layer3", 1, 5));
  fs::remove(LogPath());
  const auto report = Verify(options_.data_dir);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_FALSE(report->clean());
  EXPECT_THAT(report->damaged[0].problem, HasSubstr("FLOOR promised"));
}

TEST_F(BackupTest, VerifyingChangesNoByte) {
  KeepAndBackup();
  ASSERT_TRUE(store_->Write(BatchOf("layer3", 1, 6)).ok());
  Close();
  for (const std::string& path : {options_.data_dir, backup_}) {
    const auto before = FilesOf(path);
    const auto time = fs::last_write_time(path + "/db");
    const auto report = Verify(path);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->clean());
    EXPECT_EQ(FilesOf(path), before);
    EXPECT_EQ(fs::last_write_time(path + "/db"), time);
  }
}

TEST_F(BackupTest, VerifyingWhatAServerHasOpenIsUnavailable) {
  MustLoad();
  const auto status = Verify(options_.data_dir).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_F(BackupTest, VerifyingWhatIsNoStoreIsRefused) {
  EXPECT_TRUE(absl::IsNotFound(Verify(dir_ / "none").status()));
  fs::create_directory(restored_);
  const auto status = Verify(restored_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

}  // namespace
}  // namespace streamnorm
