// What is left when a process dies at any of its calls, and what a store does
// when the disk fails.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/rocksdb_store.h"
#include "tests/faults/fault_injection.h"
#include "tests/storage/record_builders.h"
#include "tests/storage/store_fixture.h"
#include "tests/testing/child_process.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

using testing::HasSubstr;
using testing::IsEmpty;
using testing::NotNull;

bool WasKilled(int status) {
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

bool EndedWell(int status) {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Small, so that flushes and compactions happen while there is dying to do.
constexpr uint64_t kSmallLog = uint64_t{128} << 10;

// Batch `n` of a writer: n rows in normalizer "counter", all of session 1, and
// a normalizer "ballast" of a size that fills memtables.
CommitBatch NumberedBatch(uint64_t n) {
  CommitBatch batch = BatchOf("counter", 1, n);
  CommitBatch ballast = BatchOf("ballast", 1, n);
  ballast.definitions[0] = DefinitionOf("ballast", 300);
  ballast.states[0] = StateOf("ballast", 300, n);
  ballast.states[0].base_rows = 0;
  batch.definitions.push_back(ballast.definitions[0]);
  batch.states.push_back(ballast.states[0]);
  batch.ledgers.push_back(ballast.ledgers[0]);
  return batch;
}

// Rows of "counter" in `contents`; 0 = there is none.
uint64_t RowsOf(const StoreContents& contents, const std::string& id) {
  const StoreContents::Normalizer* found = Find(contents, id);
  return found == nullptr ? 0 : found->state.moments.row_count();
}

struct ChildPlan {
  std::string data_dir;
  int64_t kill_at = 0;
};

// "<kill at>:<data directory>"
std::string Encoded(const ChildPlan& plan) {
  return std::to_string(plan.kill_at) + ":" + plan.data_dir;
}

ChildPlan PlanOfThisChild() {
  const std::string argument = ChildArgument();
  const size_t colon = argument.find(':');
  return {argument.substr(colon + 1), std::stoll(argument.substr(0, colon))};
}

// ---- Children. ----

void OpenAndClose(bool accept_data_loss) {
  const ChildPlan plan = PlanOfThisChild();
  WatchFilesUnder(plan.data_dir);
  if (plan.kill_at > 0) KillAtCall(plan.kill_at);
  ASSERT_TRUE(OpenRocksdbStore({.data_dir = plan.data_dir,
                                .accept_data_loss = accept_data_loss})
                  .ok());
}

// Disabled: each is run by name, as the process that is killed or broken.
TEST(Child, DISABLED_Opens) { OpenAndClose(/*accept_data_loss=*/false); }

TEST(Child, DISABLED_AcceptsLoss) { OpenAndClose(/*accept_data_loss=*/true); }

// Counts on from what is there, syncs now and then, and tells what is synced.
void CountOn(const ChildPlan& plan, uint64_t batches) {
  absl::StatusOr<std::unique_ptr<StatisticsStore>> store = OpenRocksdbStore(
      {.data_dir = plan.data_dir, .max_total_wal_bytes = kSmallLog});
  ASSERT_TRUE(store.ok()) << store.status();
  const absl::StatusOr<StoreContents> contents = (*store)->Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  const uint64_t start = RowsOf(*contents, "counter");
  for (uint64_t n = start + 1; n <= start + batches; ++n) {
    ASSERT_TRUE((*store)->Write(NumberedBatch(n)).ok());
    if (n % 3 != 0) continue;
    ASSERT_TRUE((*store)->Sync().ok());
    TellParent(n);
  }
}

TEST(Child, DISABLED_CountsUntilItDies) {
  const ChildPlan plan = PlanOfThisChild();
  WatchFilesUnder(plan.data_dir);
  KillAtCall(plan.kill_at);
  CountOn(plan, 40);
}

TEST(Child, DISABLED_CountsForEver) {
  CountOn(PlanOfThisChild(), uint64_t{1} << 40);
}

// ---- Dying. ----

class RocksdbCrashTest : public RocksdbStoreFixture {
 protected:
  // Lets `child` die at each of its calls in turn, each time on a copy of the
  // data directory as it is, and calls `check` with what is left.
  template <typename Check>
  void DieAtEachCall(const std::string& child, const Check& check) {
    const std::string original = options_.data_dir;
    int64_t call = 1;
    for (bool done = false; !done; ++call) {
      options_.data_dir = dir_ / (child + std::to_string(call));
      if (fs::exists(original)) CopyDirectory(original, options_.data_dir);
      ChildProcess process(child, Encoded({options_.data_dir, call}));
      const int status = process.Wait();
      ASSERT_TRUE(WasKilled(status) || EndedWell(status)) << status;
      done = EndedWell(status);
      SCOPED_TRACE("died at call " + std::to_string(call));
      check();
      Close();
      fs::remove_all(options_.data_dir);
      if (HasFailure()) return;
    }
    EXPECT_GT(call, 20);  // it did die
  }
};

TEST_F(RocksdbCrashTest, FirstOpenCutShortAnywhereOpensNextTime) {
  DieAtEachCall("Child.DISABLED_Opens", [&] {
    const StoreContents contents = MustLoad();
    EXPECT_NE(contents.history_id, HistoryId{});
    EXPECT_GE(contents.incarnation, 1u);
    EXPECT_THAT(contents.normalizers, IsEmpty());
  });
}

TEST_F(RocksdbCrashTest, LaterOpenCutShortAnywhereLosesNothing) {
  const HistoryId history = MustLoad().history_id;
  ASSERT_TRUE(store_->Write(BatchOf("layer3", 1, 4)).ok());
  ASSERT_TRUE(store_->Sync().ok());
  ASSERT_TRUE(store_->Write(BatchOf("unsynced", 1, 4)).ok());
  Close();
  DieAtEachCall("Child.DISABLED_Opens", [&] {
    const StoreContents contents = MustLoad();
    EXPECT_EQ(contents.history_id, history);
    EXPECT_THAT(Find(contents, "layer3"), NotNull());
    EXPECT_THAT(Find(contents, "unsynced"), NotNull());  // only killed
    EXPECT_THAT(contents.quarantined, IsEmpty());
  });
}

TEST_F(RocksdbCrashTest, AcceptedLossCutShortAnywhereCanBeAcceptedAgain) {
  const HistoryId history = MustLoad().history_id;
  Keep(BatchOf("kept", 1, 4));
  Keep(BatchOf("lost", 1, 4));
  fs::remove(LogPath());
  DieAtEachCall("Child.DISABLED_AcceptsLoss", [&] {
    const StoreContents contents = MustLoad(/*accept_data_loss=*/true);
    EXPECT_NE(contents.history_id, history);
    EXPECT_THAT(Find(contents, "kept"), NotNull());
    MustLoad();
  });
}

TEST_F(RocksdbCrashTest, WriterKilledAtAnyCallKeepsWhatItSyncedAndNoHalfBatch) {
  std::mt19937_64 random(3);
  uint64_t told = 0;
  for (int cycle = 0; cycle < 40; ++cycle) {
    const auto kill_at = static_cast<int64_t>(1 + random() % 300);
    ChildProcess child("Child.DISABLED_CountsUntilItDies",
                       Encoded({options_.data_dir, kill_at}));
    while (const std::optional<uint64_t> synced = child.Listen()) {
      told = *synced;
    }
    const int status = child.Wait();
    ASSERT_TRUE(WasKilled(status) || EndedWell(status)) << status;
    const StoreContents contents = MustLoad();
    EXPECT_THAT(contents.quarantined, IsEmpty()) << "half a batch";
    EXPECT_GE(RowsOf(contents, "counter"), told);
    EXPECT_EQ(RowsOf(contents, "ballast"), RowsOf(contents, "counter"));
    Close();
    ASSERT_FALSE(HasFailure()) << "killed at call " << kill_at;
  }
  EXPECT_GT(told, 0u);
}

TEST_F(RocksdbCrashTest, WriterKilledAtAnyTimeKeepsWhatItSyncedAndNoHalfBatch) {
  std::mt19937_64 random(4);
  uint64_t told = 0;
  for (int cycle = 0; cycle < 10; ++cycle) {
    ChildProcess child("Child.DISABLED_CountsForEver",
                       Encoded({options_.data_dir, 0}));
    const uint64_t enough = told + 1 + random() % 40;
    while (told < enough) {
      const std::optional<uint64_t> synced = child.Listen();
      ASSERT_TRUE(synced.has_value());
      told = *synced;
    }
    child.Kill();
    while (const std::optional<uint64_t> synced = child.Listen()) {
      told = *synced;
    }
    ASSERT_TRUE(WasKilled(child.Wait()));
    const StoreContents contents = MustLoad();
    EXPECT_THAT(contents.quarantined, IsEmpty()) << "half a batch";
    EXPECT_GE(RowsOf(contents, "counter"), told);
    Close();
  }
}

// ---- A failing disk. ----

class RocksdbDiskTest : public RocksdbStoreFixture {
 protected:
  void SetUp() override {
    options_.max_total_wal_bytes = kSmallLog;
    WatchFilesUnder(options_.data_dir);
    MustLoad();
    ASSERT_TRUE(store_->Write(NumberedBatch(1)).ok());
    ASSERT_TRUE(store_->Sync().ok());
  }

  void TearDown() override { RepairDisk(); }

  static void RepairDisk() {
    FailWritesTo("", 0);
    FailSyncsOf("", 0);
    PretendFreeBytes(-1);
  }

  void ExpectFailedForGood(const absl::Status& status) {
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("must be reopened"));
    RepairDisk();
    EXPECT_EQ(store_->Write(NumberedBatch(9)), status);
    EXPECT_EQ(store_->Write(CommitBatch()), status);
    EXPECT_EQ(store_->Sync(), status);
  }

  void ExpectRowsAfterReopen(uint64_t at_least, uint64_t at_most) {
    const StoreContents contents = MustLoad();
    EXPECT_THAT(contents.quarantined, IsEmpty());
    EXPECT_GE(RowsOf(contents, "counter"), at_least);
    EXPECT_LE(RowsOf(contents, "counter"), at_most);
  }
};

TEST_F(RocksdbDiskTest, FailedSyncOfTheLogFailsTheStoreForGood) {
  ASSERT_TRUE(store_->Write(NumberedBatch(2)).ok());
  FailSyncsOf(".log", EIO);
  ExpectFailedForGood(store_->Sync());
  ExpectRowsAfterReopen(1, 2);
}

TEST_F(RocksdbDiskTest, FloorPromisesNothingBeforeTheLogIsSynced) {
  const std::string before = ReadFile(FloorPath());
  ASSERT_TRUE(store_->Write(NumberedBatch(2)).ok());
  FailSyncsOf(".log", EIO);
  EXPECT_FALSE(store_->Sync().ok());
  EXPECT_EQ(ReadFile(FloorPath()), before);
}

TEST_F(RocksdbDiskTest, FailedSyncForLackOfSpaceFailsTheStoreForGood) {
  ASSERT_TRUE(store_->Write(NumberedBatch(2)).ok());
  FailSyncsOf(".log", ENOSPC);
  ExpectFailedForGood(store_->Sync());
  ExpectRowsAfterReopen(1, 2);
}

TEST_F(RocksdbDiskTest, FailedWriteOfFloorFailsTheStoreForGood) {
  ASSERT_TRUE(store_->Write(NumberedBatch(2)).ok());
  FailWritesTo("/FLOOR", EIO);
  ExpectFailedForGood(store_->Sync());
  ExpectRowsAfterReopen(1, 2);
}

TEST_F(RocksdbDiskTest, FailedSyncOfFloorFailsTheStoreForGood) {
  ASSERT_TRUE(store_->Write(NumberedBatch(2)).ok());
  FailSyncsOf("/FLOOR", EIO);
  ExpectFailedForGood(store_->Sync());
  ExpectRowsAfterReopen(1, 2);
}

TEST_F(RocksdbDiskTest, FailedWriteOfTheLogFailsTheStoreForGood) {
  FailWritesTo(".log", EIO);
  ExpectFailedForGood(store_->Write(NumberedBatch(2)));
  ExpectRowsAfterReopen(1, 1);
}

TEST_F(RocksdbDiskTest, FullDiskInTheLogFailsTheStoreForGood) {
  FailWritesTo(".log", ENOSPC);
  ExpectFailedForGood(store_->Write(NumberedBatch(2)));
  ExpectRowsAfterReopen(1, 1);
}

TEST_F(RocksdbDiskTest, LowDiskRefusesABatchAndWritesNothingOfIt) {
  PretendFreeBytes(1000);
  const int64_t calls = CallsSeen();
  const absl::Status status = store_->Write(NumberedBatch(2));
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(CallsSeen(), calls);
  EXPECT_EQ(store_->FreeBytes().value(), 0u);  // less than a block
  ExpectRowsAfterReopen(1, 1);
}

TEST_F(RocksdbDiskTest, StoreGoesOnWhenThereIsSpaceAgain) {
  PretendFreeBytes(0);
  ASSERT_TRUE(absl::IsResourceExhausted(store_->Write(NumberedBatch(2))));
  EXPECT_TRUE(store_->Sync().ok());
  PretendFreeBytes(-1);
  ASSERT_TRUE(store_->Write(NumberedBatch(3)).ok());
  ASSERT_TRUE(store_->Sync().ok());
  ExpectRowsAfterReopen(3, 3);
}

TEST_F(RocksdbDiskTest, FullDiskInAFlushIsBearableUntilThereIsSpaceAgain) {
  uint64_t n = 1;
  for (int round = 0; round < 3; ++round) {
    FailWritesTo(".sst", ENOSPC);
    absl::Status status;
    for (int i = 0; i < 500 && status.ok(); ++i) {
      status = store_->Write(NumberedBatch(++n));
    }
    ASSERT_TRUE(absl::IsResourceExhausted(status)) << status;
    for (int i = 0; i < 10; ++i) {
      ASSERT_EQ(store_->Write(NumberedBatch(n)), status);
    }
    RepairDisk();
    ASSERT_TRUE(store_->Write(NumberedBatch(n)).ok());
    ASSERT_TRUE(store_->Sync().ok());
  }
  ExpectRowsAfterReopen(n, n);
}

// Debian's RocksDB aborts where it meets an error that it thinks impossible.
TEST_F(RocksdbDiskTest, FullDiskAtAnyTimeNeitherAbortsNorLosesWhatWasSynced) {
  uint64_t synced = 1;
  for (uint64_t round = 0; round < 12; ++round) {
    uint64_t n = synced;
    for (uint64_t i = 0; i < round; ++i) {
      ASSERT_TRUE(store_->Write(NumberedBatch(++n)).ok());
    }
    FailWritesTo("*", ENOSPC);
    absl::Status status;
    for (int i = 0; i < 20 && status.ok(); ++i) {
      status = store_->Write(NumberedBatch(++n));
    }
    EXPECT_FALSE(status.ok());
    RepairDisk();
    ExpectRowsAfterReopen(synced, n);
    ASSERT_TRUE(store_->Write(NumberedBatch(n + 1)).ok());
    ASSERT_TRUE(store_->Sync().ok());
    synced = n + 1;
  }
}

TEST_F(RocksdbDiskTest, FailedFlushFailsTheStoreForGoodAndLosesNothing) {
  FailWritesTo(".sst", EIO);
  uint64_t n = 1;
  absl::Status status;
  while (status.ok() && n < 500) status = store_->Write(NumberedBatch(++n));
  ExpectFailedForGood(status);
  ExpectRowsAfterReopen(n - 1, n - 1);
}

TEST_F(RocksdbDiskTest, StoreThatCantSyncItsStartDoesNotOpen) {
  Close();
  FailSyncsOf(".log", EIO);
  EXPECT_FALSE(Open().ok());
  FailSyncsOf("/FLOOR", EIO);
  EXPECT_FALSE(Open().ok());
  RepairDisk();
  ExpectRowsAfterReopen(1, 1);
}

}  // namespace
}  // namespace streamnorm
