#include "storage/rocksdb_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/key_codec.h"
#include "storage/record_codec.h"
#include "storage/value_format.h"
#include "tests/storage/conformance_suite.h"
#include "tests/storage/golden_values.h"
#include "tests/storage/record_builders.h"
#include "tests/storage/store_fixture.h"
#include "tests/testing/child_process.h"
#include "tests/testing/tamper.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::NotNull;
using testing::SizeIs;

class RocksdbStoreUnderTest : public StoreUnderTest {
 public:
  RocksdbStoreUnderTest() { Reopen(); }
  StatisticsStore& store() override { return *store_; }
  void Reopen() override {
    store_.reset();
    store_ = OpenRocksdbStore({.data_dir = dir_ / "data"}).value();
  }

 private:
  TempDir dir_;
  std::unique_ptr<StatisticsStore> store_;
};

std::unique_ptr<StoreUnderTest> NewRocksdbStoreUnderTest() {
  return std::make_unique<RocksdbStoreUnderTest>();
}

INSTANTIATE_TEST_SUITE_P(Rocksdb, StoreConformance,
                         testing::Values(&NewRocksdbStoreUnderTest));

class RocksdbStoreTest : public RocksdbStoreFixture {
 protected:
  void Change(const std::string& key,
              const std::function<void(std::string*)>& change) {
    Close();
    Tamper(DatabasePath(), key, change);
  }

  void Damage(const std::string& key) {
    Close();
    FlipBitUnder(DatabasePath(), key);
  }

  // Two normalizers, "bad" and "good", each with its own session and ledger.
  void KeepTwoNormalizers() {
    Keep(BatchOf("bad", 1, 4));
    Keep(BatchOf("good", 2, 5));
  }

  void ExpectOnlyGoodServes(const std::string& reason) {
    const StoreContents contents = MustLoad();
    EXPECT_THAT(contents.normalizers, SizeIs(1));
    EXPECT_THAT(Find(contents, "good"), NotNull());
    ASSERT_THAT(contents.quarantined, SizeIs(1));
    EXPECT_EQ(contents.quarantined[0].id, "bad");
    EXPECT_THAT(contents.quarantined[0].reason, HasSubstr(reason));
  }

  void ExpectLoss(const std::string& reason) {
    const absl::Status status = Open().status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(reason), HasSubstr("--accept_data_loss"),
                      HasSubstr(options_.data_dir)));
  }
};

// ---- Opening. ----

TEST_F(RocksdbStoreTest, EveryOpenIsANewIncarnationOfTheSameHistory) {
  const HistoryId history = MustLoad().history_id;
  for (uint64_t incarnation = 2; incarnation < 6; ++incarnation) {
    const StoreContents contents = MustLoad();
    EXPECT_EQ(contents.incarnation, incarnation);
    EXPECT_EQ(contents.history_id, history);
  }
}

TEST_F(RocksdbStoreTest, EveryStoreHasAnotherHistory) {
  const HistoryId first = MustLoad().history_id;
  options_.data_dir = dir_ / "other";
  EXPECT_NE(MustLoad().history_id, first);
}

TEST_F(RocksdbStoreTest, MissingDirectoriesAreCreated) {
  options_.data_dir = dir_ / "a/b/c";
  EXPECT_THAT(MustOpen(), NotNull());
}

TEST_F(RocksdbStoreTest, DirectoryInUseIsUnavailableByName) {
  store_ = MustOpen();
  const absl::Status status = Open().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(options_.data_dir));
}

TEST_F(RocksdbStoreTest, ClosedStoreCanBeOpenedAgainAtOnce) {
  store_ = MustOpen();
  Close();
  EXPECT_THAT(MustOpen(), NotNull());
}

TEST_F(RocksdbStoreTest, DatabaseInUseByAnotherProgramIsUnavailable) {
  Keep(BatchOf("layer3", 1, 4));
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(
      rocksdb::DB::Open(rocksdb::Options(), DatabasePath(), &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  const absl::Status status = Open().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_F(RocksdbStoreTest, FileInPlaceOfTheDirectoryIsRefused) {
  WriteFile(options_.data_dir, "not a directory");
  const absl::Status status = Open().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(options_.data_dir));
}

TEST_F(RocksdbStoreTest, ForeignContentIsRefusedByNameAndLeftAlone) {
  fs::create_directory(options_.data_dir);
  WriteFile(options_.data_dir + "/thesis.tex", "mine");
  const absl::Status status = Open().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("thesis.tex"));
  EXPECT_THAT(AllFiles(), SizeIs(1));
}

TEST_F(RocksdbStoreTest, RootOfAFreshFileSystemIsFine) {
  fs::create_directories(options_.data_dir + "/lost+found");
  EXPECT_THAT(MustOpen(), NotNull());
}

TEST_F(RocksdbStoreTest, DirectoryThatOthersAddedToIsFine) {
  Keep(BatchOf("layer3", 1, 4));
  WriteFile(options_.data_dir + "/BALLAST", "");
  EXPECT_THAT(Find(MustLoad(), "layer3"), NotNull());
}

TEST_F(RocksdbStoreTest, UnwritableDirectoryIsDenied) {
  fs::create_directory(options_.data_dir);
  fs::permissions(options_.data_dir,
                  fs::perms::owner_read | fs::perms::owner_exec);
  const uid_t user = geteuid();
  constexpr uid_t kNobody = 65534;
  if (user == 0) {  // root may write anywhere
    ASSERT_EQ(seteuid(kNobody), 0);
  }
  const absl::Status status = Open().status();
  ASSERT_EQ(seteuid(user), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
}

TEST_F(RocksdbStoreTest, NewerStoreFormatIsRefusedAndLeftAlone) {
  Keep(BatchOf("layer3", 1, 4));
  Change(std::string(kFormatKey),
         [](std::string* value) { EncodeNumber(kFormatKey, 3, value); });
  const auto before = AllFiles();
  const absl::Status status = Open(/*accept_data_loss=*/true).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(AllFiles(), before);
}

TEST_F(RocksdbStoreTest, StartTakesAtMostThreeThreads) {
  const auto threads = [] {
    return std::distance(fs::directory_iterator("/proc/self/task"),
                         fs::directory_iterator());
  };
  const auto before = threads();
  store_ = MustOpen();
  EXPECT_LE(threads(), before + 3);
}

TEST_F(RocksdbStoreTest, ItsOwnLogFilesStayFew) {
  for (int i = 0; i < 8; ++i) MustLoad();
  size_t logs = 0;
  for (const auto& entry : fs::directory_iterator(DatabasePath())) {
    logs += entry.path().filename().string().starts_with("LOG") ? 1 : 0;
  }
  EXPECT_LE(logs, 4u);
}

TEST_F(RocksdbStoreTest, LogStaysBelowItsLimit) {
  options_.max_total_wal_bytes = uint64_t{2} << 20;
  MustLoad();
  CommitBatch batch;
  batch.definitions.push_back(DefinitionOf("wide", 1000));
  batch.states.push_back(StateOf("wide", 1000, 2));  // 48 kB
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(store_->Write(batch).ok());
  uint64_t bytes = 0;
  for (const std::string& log : DatabaseFiles(".log")) {
    bytes += fs::file_size(log);
  }
  EXPECT_LT(bytes, (uint64_t{2} << 20) + (uint64_t{200} << 10));
}

// ---- What was promised and is gone. ----

TEST_F(RocksdbStoreTest, MissingLogIsDataLossWithBothNumbers) {
  Keep(BatchOf("layer3", 1, 4));
  fs::remove(LogPath());
  ExpectLoss("recovered up to sequence 0, but FLOOR promised 8");
}

TEST_F(RocksdbStoreTest, LogOfAnEarlierTimeIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  store_ = MustOpen();
  ASSERT_TRUE(store_->Write(BatchOf("layer4", 1, 4)).ok());
  ASSERT_TRUE(store_->Sync().ok());
  const std::string earlier = ReadFile(LogPath());
  ASSERT_TRUE(store_->Write(BatchOf("layer4", 1, 5)).ok());
  ASSERT_TRUE(store_->Sync().ok());
  Close();
  WriteFile(LogPath(), earlier);
  ExpectLoss("but FLOOR promised");
}

TEST_F(RocksdbStoreTest, EveryFlippedByteOfTheSyncedLogIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  const std::string whole = options_.data_dir;
  const uint64_t size = LogSize();
  ASSERT_GT(size, 100u);
  for (uint64_t offset = 0; offset < size; offset += 17) {
    options_.data_dir = dir_ / ("flipped" + std::to_string(offset));
    CopyDirectory(whole, options_.data_dir);
    FlipByte(LogPath(), offset);
    ExpectLoss("but FLOOR promised");
  }
}

TEST_F(RocksdbStoreTest, RefusedStoreIsLeftAlone) {
  Keep(BatchOf("layer3", 1, 4));
  FlipByte(LogPath(), LogSize() / 2);
  const auto before = AllFiles();
  ExpectLoss("but FLOOR promised");
  EXPECT_EQ(AllFiles(), before);
}

// A power cut leaves of the log what was synced and any part of the rest.
TEST_F(RocksdbStoreTest, LogCutAnywhereAfterTheLastSyncKeepsWhatWasSynced) {
  MustLoad();
  ASSERT_TRUE(store_->Write(BatchOf("synced", 1, 4)).ok());
  ASSERT_TRUE(store_->Sync().ok());
  const uint64_t synced_size = LogSize();
  ASSERT_TRUE(store_->Write(BatchOf("later", 2, 4)).ok());
  Close();
  const std::string whole = options_.data_dir;
  const uint64_t size = LogSize();
  for (uint64_t cut = synced_size; cut <= size; cut += 29) {
    options_.data_dir = dir_ / ("cut" + std::to_string(cut));
    CopyDirectory(whole, options_.data_dir);
    fs::resize_file(LogPath(), cut);
    const StoreContents contents = MustLoad();
    EXPECT_THAT(Find(contents, "synced"), NotNull());
    EXPECT_THAT(contents.quarantined, IsEmpty()) << "part of a batch";
    Close();
  }
}

TEST_F(RocksdbStoreTest, LogCutAnywhereBeforeTheLastSyncIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  const std::string whole = options_.data_dir;
  const uint64_t size = LogSize();
  for (uint64_t cut = 0; cut < size; cut += 29) {
    options_.data_dir = dir_ / ("cut" + std::to_string(cut));
    CopyDirectory(whole, options_.data_dir);
    fs::resize_file(LogPath(), cut);
    ExpectLoss("but FLOOR promised");
  }
}

TEST_F(RocksdbStoreTest, MissingFloorIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  fs::remove(FloorPath());
  ExpectLoss("FLOOR: missing");
}

TEST_F(RocksdbStoreTest, UnreadableFloorIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  WriteFile(FloorPath(), std::string(8192, 'x'));
  ExpectLoss("FLOOR: no readable slot");
}

TEST_F(RocksdbStoreTest, UnreadableFloorWithoutADatabaseIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  WriteFile(FloorPath(), "");
  fs::remove_all(DatabasePath());
  ExpectLoss("FLOOR: no readable slot");
}

TEST_F(RocksdbStoreTest, MissingDatabaseIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  fs::remove_all(DatabasePath());
  ExpectLoss("recovered up to sequence 0, but FLOOR promised");
}

TEST_F(RocksdbStoreTest, DatabaseOfAnotherHistoryIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  const std::string database = DatabasePath();
  options_.data_dir = dir_ / "other";
  for (int i = 0; i < 5; ++i) Keep(BatchOf("layer3", 1, 4));
  fs::remove_all(database);
  fs::rename(DatabasePath(), database);
  options_.data_dir = dir_ / "data";
  ExpectLoss("of history");
}

TEST_F(RocksdbStoreTest, EitherSlotOfTheFloorIsEnoughRightAfterTheFirstOpen) {
  MustLoad();
  Close();
  const std::string whole = options_.data_dir;
  for (const uint64_t slot : {0u, 4096u}) {
    options_.data_dir = dir_ / ("slot" + std::to_string(slot));
    CopyDirectory(whole, options_.data_dir);
    FlipByte(FloorPath(), slot);
    fs::remove(LogPath());
    ExpectLoss("but FLOOR promised");
  }
}

TEST_F(RocksdbStoreTest, DamagedStoreRecordsAreDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  const std::string whole = options_.data_dir;
  for (const std::string_view key :
       {kFormatKey, kHistoryKey, kIncarnationKey, kNextGenerationKey}) {
    options_.data_dir = dir_ / key;
    CopyDirectory(whole, options_.data_dir);
    Damage(std::string(key));
    ExpectLoss(std::string(key));
    EXPECT_THAT(Find(MustLoad(/*accept_data_loss=*/true), "layer3"), NotNull());
    EXPECT_THAT(Find(MustLoad(), "layer3"), NotNull());
  }
}

TEST_F(RocksdbStoreTest, AcceptedLossServesTheRestUnderANewHistory) {
  Keep(BatchOf("kept", 1, 4));
  Keep(BatchOf("lost", 2, 4));
  const HistoryId before = MustLoad().history_id;
  Keep(BatchOf("lost2", 2, 4));
  fs::remove(LogPath());
  const StoreContents contents = MustLoad(/*accept_data_loss=*/true);
  EXPECT_NE(contents.history_id, before);
  EXPECT_THAT(Find(contents, "kept"), NotNull());
  EXPECT_EQ(Find(contents, "lost2"), nullptr);
}

TEST_F(RocksdbStoreTest, AcceptedLossIsAcceptedOnce) {
  Keep(BatchOf("layer3", 1, 4));
  fs::remove(LogPath());
  const HistoryId history = MustLoad(/*accept_data_loss=*/true).history_id;
  EXPECT_EQ(MustLoad().history_id, history);
  EXPECT_EQ(MustLoad(/*accept_data_loss=*/true).history_id, history);
}

TEST_F(RocksdbStoreTest, AcceptedLossReachesNoGenerationThatMayBeForgotten) {
  Keep(BatchOf("layer3", 1, 4));
  CommitBatch batch;
  batch.next_generation = 1000;
  Keep(batch);
  fs::remove(LogPath());
  EXPECT_GT(MustLoad(/*accept_data_loss=*/true).next_generation, 1000u);
}

TEST_F(RocksdbStoreTest, AcceptedLossOfFloorKeepsTheRecords) {
  Keep(BatchOf("layer3", 1, 4));
  fs::remove(FloorPath());
  EXPECT_THAT(Find(MustLoad(/*accept_data_loss=*/true), "layer3"), NotNull());
  EXPECT_THAT(Find(MustLoad(), "layer3"), NotNull());
}

TEST_F(RocksdbStoreTest, AcceptedLossOfTheDatabaseStartsEmpty) {
  Keep(BatchOf("layer3", 1, 4));
  fs::remove_all(DatabasePath());
  EXPECT_THAT(MustLoad(/*accept_data_loss=*/true).normalizers, IsEmpty());
  EXPECT_THAT(MustLoad().normalizers, IsEmpty());
}

TEST_F(RocksdbStoreTest, AcceptingWithoutALossKeepsTheHistory) {
  const HistoryId history = MustLoad().history_id;
  Keep(BatchOf("layer3", 1, 4));
  const StoreContents contents = MustLoad(/*accept_data_loss=*/true);
  EXPECT_EQ(contents.history_id, history);
  EXPECT_THAT(Find(contents, "layer3"), NotNull());
}

// ---- What is damaged. ----

TEST_F(RocksdbStoreTest, DamagedDefinitionQuarantinesOnlyItsNormalizer) {
  KeepTwoNormalizers();
  Damage(DefinitionKey("bad"));
  ExpectOnlyGoodServes("definition of normalizers/bad: checksum");
}

TEST_F(RocksdbStoreTest, DamagedStateQuarantinesOnlyItsNormalizer) {
  KeepTwoNormalizers();
  Damage(StateKey("bad"));
  ExpectOnlyGoodServes("state of normalizers/bad: checksum");
}

TEST_F(RocksdbStoreTest, DamagedLedgerQuarantinesOnlyItsNormalizer) {
  KeepTwoNormalizers();
  Damage(LedgerKey("bad", SessionNamed(1)));
  ExpectOnlyGoodServes("ledger of normalizers/bad");
}

TEST_F(RocksdbStoreTest, DamagedSessionQuarantinesEveryNormalizerItCountedIn) {
  KeepTwoNormalizers();
  Damage(SessionKey(SessionNamed(1)));
  ExpectOnlyGoodServes("session 0101010101010101");
}

TEST_F(RocksdbStoreTest, DamagedSessionThatCountedNothingIsMerelyUnknown) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.sessions.push_back(SessionOf(2));
  Keep(batch);
  Damage(SessionKey(SessionNamed(2)));
  const StoreContents contents = MustLoad();
  EXPECT_THAT(contents.quarantined, IsEmpty());
  EXPECT_THAT(contents.sessions, ElementsAre(SessionOf(1)));
}

TEST_F(RocksdbStoreTest, StateOfAnotherNormalizerIsDamaged) {
  KeepTwoNormalizers();
  std::string good;
  Change(StateKey("good"), [&](std::string* value) { good = *value; });
  Change(StateKey("bad"), [&](std::string* value) { *value = good; });
  ExpectOnlyGoodServes("state of normalizers/bad: checksum");
}

TEST_F(RocksdbStoreTest, QuarantinedRecordsStayAsTheyAre) {
  KeepTwoNormalizers();
  Damage(StateKey("bad"));
  MustLoad();
  Damage(StateKey("bad"));
  EXPECT_THAT(Find(MustLoad(), "bad"), NotNull());
}

TEST_F(RocksdbStoreTest, RecordOfANewerVersionFailsTheLoad) {
  KeepTwoNormalizers();
  const std::string key = StateKey("bad");
  Change(key, [&](std::string* value) {
    (*value)[8] = 3;
    const uint64_t checksum = ValueChecksum(key, value->substr(8));
    value->replace(0, 8, reinterpret_cast<const char*>(&checksum), 8);
  });
  store_ = MustOpen();
  const absl::Status status = store_->Load().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

TEST_F(RocksdbStoreTest, DamagedSnapshotLeavesItsNormalizerAlone) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  for (const char* id : {"bad", "good"}) {
    batch.snapshots.push_back(std::make_shared<const SnapshotRecord>(
        SnapshotOf("layer3", id, batch.states[0])));
  }
  Keep(batch);
  Change(SnapshotKey("layer3", "bad"),
         [](std::string* value) { value->back() ^= 1; });
  const StoreContents contents = MustLoad();
  EXPECT_THAT(contents.quarantined, IsEmpty());
  const StoreContents::Normalizer* found = Find(contents, "layer3");
  ASSERT_THAT(found, NotNull());
  ASSERT_EQ(found->snapshots.size(), 1u);
  EXPECT_EQ(found->snapshots[0]->id, "good");
  ASSERT_EQ(found->damaged_snapshots.size(), 1u);
  EXPECT_EQ(found->damaged_snapshots[0].id, "bad");
  EXPECT_THAT(found->damaged_snapshots[0].reason,
              HasSubstr("snapshot of normalizers/layer3: bad: checksum"));
  const auto report = store_->Verify({});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->damaged_count, 1u);
}

TEST_F(RocksdbStoreTest, UnknownKeyIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  Change("Xyz", [](std::string* value) { *value = "?"; });
  store_ = MustOpen();
  const absl::Status status = store_->Load().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("Xyz"));
}

TEST_F(RocksdbStoreTest, DamagedBlockOfATableIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  MustLoad();  // recovery makes a table of the log
  Close();
  const std::string whole = options_.data_dir;
  for (const uint64_t offset : {10u, 100u, 400u}) {
    options_.data_dir = dir_ / ("flipped" + std::to_string(offset));
    CopyDirectory(whole, options_.data_dir);
    FlipByte(DatabaseFiles(".sst").front(), offset);
    absl::StatusOr<Store> store = Open();
    const absl::Status status =
        store.ok() ? (*store)->Load().status() : store.status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  }
}

TEST_F(RocksdbStoreTest, MissingTableIsDataLoss) {
  Keep(BatchOf("layer3", 1, 4));
  MustLoad();
  Close();
  fs::remove(DatabaseFiles(".sst").front());
  const absl::Status status = Open().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

// ---- The first release's files. ----

class GoldenDatabaseTest : public RocksdbStoreFixture {};

TEST_F(GoldenDatabaseTest, StillOpensWithAllThatIsInIt) {
  CopyDirectory(STREAMNORM_TEST_DATA "/storage_v1/database", options_.data_dir);
  const StoreContents contents = MustLoad();
  EXPECT_EQ(HexOf(contents.history_id), "9f0177932547ba7975d2f36a15c68689");
  EXPECT_EQ(contents.incarnation, 3u);
  EXPECT_EQ(contents.next_generation, 5u);
  EXPECT_THAT(contents.quarantined, IsEmpty());
  EXPECT_EQ(contents.sessions, GoldenTableBatch().sessions);
  for (const CommitBatch& batch : {GoldenTableBatch(), GoldenLogBatch()}) {
    const StoreContents::Normalizer* found =
        Find(contents, batch.definitions[0].id);
    ASSERT_THAT(found, NotNull());
    EXPECT_EQ(found->definition, batch.definitions[0]);
    EXPECT_TRUE(SameState(found->state, batch.states[0]));
    EXPECT_EQ(found->ledgers, batch.ledgers);
  }
}

TEST_F(GoldenDatabaseTest, ThatOfFormat2StillOpensWithAllThatIsInIt) {
  CopyDirectory(STREAMNORM_TEST_DATA "/storage_v2/database", options_.data_dir);
  const StoreContents contents = MustLoad();
  EXPECT_THAT(contents.quarantined, IsEmpty());
  EXPECT_EQ(contents.normalizers.size(), 4u);
  const CommitBatch batch = GoldenFormat2Batch();
  for (size_t i = 0; i < batch.states.size(); ++i) {
    const StoreContents::Normalizer* found = Find(contents, batch.states[i].id);
    ASSERT_THAT(found, NotNull());
    EXPECT_EQ(found->definition, batch.definitions[i]);
    EXPECT_TRUE(SameState(found->state, batch.states[i]));
  }
  for (const SharedSnapshot& snapshot : batch.snapshots) {
    const auto* found = Find(contents, snapshot->normalizer_id());
    ASSERT_EQ(found->snapshots.size(), 1u);
    EXPECT_TRUE(SameSnapshot(*found->snapshots[0], *snapshot));
  }
}

// Run by hand, once per format; STREAMNORM_CHILD_ARGUMENT is the new directory.
TEST_F(GoldenDatabaseTest, DISABLED_IsWritten) {
  options_.data_dir = ChildArgument();
  Keep(GoldenTableBatch());
  Keep(GoldenFormat2Batch());
  Keep(GoldenLogBatch());
  for (const auto& entry : fs::directory_iterator(DatabasePath())) {
    const std::string name = entry.path().filename();
    // They name this machine's paths, and RocksDB makes new ones.
    if (name.starts_with("LOG") || name.starts_with("OPTIONS") ||
        name == "LOCK") {
      fs::remove(entry.path());
    }
  }
}

}  // namespace
}  // namespace streamnorm
