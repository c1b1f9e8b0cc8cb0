#include "tests/storage/conformance_suite.h"

#include <gmock/gmock.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/records.h"
#include "tests/storage/record_builders.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::NotNull;
using testing::SizeIs;
using testing::UnorderedElementsAre;

void StoreConformance::Write(const CommitBatch& batch) {
  const absl::Status written = store().Write(batch);
  ASSERT_TRUE(written.ok()) << written;
}

StoreContents StoreConformance::ContentsAfterReopen() {
  const absl::Status synced = store().Sync();
  EXPECT_TRUE(synced.ok()) << synced;
  under_test_->Reopen();
  absl::StatusOr<StoreContents> contents = store().Load();
  EXPECT_TRUE(contents.ok()) << contents.status();
  return contents.ok() ? *std::move(contents) : StoreContents();
}

namespace {

std::vector<std::string> IdsOf(const StoreContents& contents) {
  std::vector<std::string> ids;
  for (const auto& n : contents.normalizers) ids.push_back(n.definition.id);
  return ids;
}

auto Quarantined(const std::string& id, const std::string& reason) {
  return AllOf(Field(&QuarantinedNormalizer::id, id),
               Field(&QuarantinedNormalizer::reason, HasSubstr(reason)));
}

TEST_P(StoreConformance, NewStoreHoldsNothingUnderAHistoryOfItsOwn) {
  const absl::StatusOr<StoreContents> contents = store().Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_NE(contents->history_id, HistoryId{});
  EXPECT_EQ(contents->incarnation, 1u);
  EXPECT_EQ(contents->next_generation, 1u);
  EXPECT_THAT(contents->normalizers, IsEmpty());
  EXPECT_THAT(contents->sessions, IsEmpty());
  EXPECT_THAT(contents->quarantined, IsEmpty());
}

TEST_P(StoreConformance, HistoryStaysTheSame) {
  const absl::StatusOr<StoreContents> before = store().Load();
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(ContentsAfterReopen().history_id, before->history_id);
}

TEST_P(StoreConformance, DefinitionComesBackAsWritten) {
  const CommitBatch batch = BatchOf("layer3", 1, 4);
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_EQ(Find(contents, "layer3")->definition, batch.definitions[0]);
}

TEST_P(StoreConformance, StateComesBackToTheLastBit) {
  const CommitBatch batch = BatchOf("layer3", 1, 4);
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_TRUE(SameState(Find(contents, "layer3")->state, batch.states[0]));
}

TEST_P(StoreConformance, StateWithSkippedValuesComesBackToTheLastBit) {
  CommitBatch batch;
  batch.definitions.push_back(DefinitionOf("gappy", 50));
  batch.states.push_back(StateOf("gappy", 50, 9, /*skipped=*/true));
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "gappy"), NotNull());
  EXPECT_TRUE(SameState(Find(contents, "gappy")->state, batch.states[0]));
}

TEST_P(StoreConformance, LargeStateComesBackToTheLastBit) {
  CommitBatch batch;
  batch.definitions.push_back(DefinitionOf("wide", 200'000));
  batch.states.push_back(StateOf("wide", 200'000, 2));
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "wide"), NotNull());
  EXPECT_TRUE(SameState(Find(contents, "wide")->state, batch.states[0]));
}

TEST_P(StoreConformance, SessionsAndLedgersComeBackAsWritten) {
  const CommitBatch batch = BatchOf("layer3", 1, 4);
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_EQ(Find(contents, "layer3")->ledgers, batch.ledgers);
  EXPECT_EQ(contents.sessions, batch.sessions);
}

TEST_P(StoreConformance, LaterWriteReplacesTheRecordsOfAnEarlier) {
  Write(BatchOf("layer3", 1, 4));
  CommitBatch later = BatchOf("layer3", 1, 6);
  later.definitions.clear();
  later.sessions[0].epoch = 2;
  Write(later);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_TRUE(SameState(Find(contents, "layer3")->state, later.states[0]));
  EXPECT_EQ(Find(contents, "layer3")->ledgers, later.ledgers);
  EXPECT_EQ(contents.sessions, later.sessions);
}

TEST_P(StoreConformance, NormalizersComeInTheOrderOfTheirIds) {
  for (const char* id : {"zeta", "b", "alpha", "alpha.1", "a"}) {
    Write(BatchOf(id, 1, 2));
  }
  EXPECT_THAT(IdsOf(ContentsAfterReopen()),
              ElementsAre("a", "alpha", "alpha.1", "b", "zeta"));
}

TEST_P(StoreConformance, DeletingANormalizerTakesAllOfItsRecords) {
  Write(BatchOf("layer3", 1, 4));
  CommitBatch batch;
  batch.deleted_normalizers = {"layer3"};
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  EXPECT_THAT(contents.normalizers, IsEmpty());
  EXPECT_THAT(contents.quarantined, IsEmpty());  // no record stays behind
  EXPECT_THAT(contents.sessions, SizeIs(1));
}

TEST_P(StoreConformance, DeletingANormalizerLeavesThoseWithSimilarIds) {
  for (const char* id : {"a", "aa", "ab", "a.", "a-", "b", "a0"}) {
    Write(BatchOf(id, 1, 2));
  }
  CommitBatch batch;
  batch.deleted_normalizers = {"a"};
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  EXPECT_THAT(IdsOf(contents),
              UnorderedElementsAre("aa", "ab", "a.", "a-", "b", "a0"));
  EXPECT_THAT(contents.quarantined, IsEmpty());
}

TEST_P(StoreConformance, DeletionsComeBeforeThePutsOfTheirBatch) {
  Write(BatchOf("layer3", 1, 4));
  CommitBatch again = BatchOf("layer3", 2, 7);
  again.deleted_normalizers = {"layer3"};
  again.deleted_sessions = {SessionNamed(1), SessionNamed(2)};
  Write(again);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_TRUE(SameState(Find(contents, "layer3")->state, again.states[0]));
  EXPECT_EQ(Find(contents, "layer3")->ledgers, again.ledgers);
  EXPECT_EQ(contents.sessions, again.sessions);
}

TEST_P(StoreConformance, EndedSessionLeavesItsRowsInTheBase) {
  Write(BatchOf("layer3", 1, 4));
  CommitBatch batch;
  batch.states.push_back(StateOf("layer3", 2, 4));  // base_rows = 4
  batch.deleted_sessions = {SessionNamed(1)};
  batch.deleted_ledgers = {{"layer3", SessionNamed(1)}};
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_THAT(Find(contents, "layer3")->ledgers, IsEmpty());
  EXPECT_THAT(contents.sessions, IsEmpty());
}

TEST_P(StoreConformance, DeletingOneLedgerLeavesTheOthers) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.sessions.push_back(SessionOf(2));
  batch.ledgers.push_back(LedgerOf("layer3", 2, 0));
  Write(batch);
  CommitBatch deletion;
  deletion.deleted_ledgers = {{"layer3", SessionNamed(2)}};
  Write(deletion);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_THAT(Find(contents, "layer3")->ledgers, ElementsAre(batch.ledgers[0]));
}

TEST_P(StoreConformance, DeletingWhatIsAbsentChangesNothing) {
  Write(BatchOf("layer3", 1, 4));
  CommitBatch batch;
  batch.deleted_normalizers = {"nobody"};
  batch.deleted_sessions = {SessionNamed(9)};
  batch.deleted_ledgers = {{"layer3", SessionNamed(9)}};
  Write(batch);
  EXPECT_THAT(IdsOf(ContentsAfterReopen()), ElementsAre("layer3"));
}

TEST_P(StoreConformance, NextGenerationComesBack) {
  CommitBatch batch;
  batch.next_generation = 77;
  Write(batch);
  EXPECT_EQ(ContentsAfterReopen().next_generation, 77u);
}

TEST_P(StoreConformance, NextGenerationIsAboveEveryGenerationInUse) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.states[0].generation = 500;
  Write(batch);
  EXPECT_EQ(ContentsAfterReopen().next_generation, 501u);
}

TEST_P(StoreConformance, EmptyBatchIsWrittenAsNothing) {
  Write(CommitBatch());
  EXPECT_THAT(ContentsAfterReopen().normalizers, IsEmpty());
}

TEST_P(StoreConformance, SyncWithoutAWriteSucceeds) {
  EXPECT_TRUE(store().Sync().ok());
  EXPECT_TRUE(store().Sync().ok());
}

TEST_P(StoreConformance, ItKnowsItsSize) {
  CommitBatch batch;
  batch.definitions.push_back(DefinitionOf("layer3", 2));
  Write(batch);
  const absl::StatusOr<uint64_t> size = store().SizeBytes();
  ASSERT_TRUE(size.ok()) << size.status();
  EXPECT_EQ(*size > 0, store().kind() != "memory");
}

TEST_P(StoreConformance, SomeBytesAreFree) {
  const absl::StatusOr<uint64_t> free = store().FreeBytes();
  ASSERT_TRUE(free.ok()) << free.status();
  EXPECT_GT(*free, 0u);
}

TEST_P(StoreConformance, NormalizerWithoutStateIsQuarantined) {
  CommitBatch batch;
  batch.definitions.push_back(DefinitionOf("layer3", 2));
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  EXPECT_THAT(contents.normalizers, IsEmpty());
  EXPECT_THAT(contents.quarantined,
              ElementsAre(Quarantined("layer3", "state: missing")));
}

TEST_P(StoreConformance, NormalizerWithoutDefinitionIsQuarantined) {
  CommitBatch batch;
  batch.states.push_back(StateOf("layer3", 2, 4));
  Write(batch);
  EXPECT_THAT(ContentsAfterReopen().quarantined,
              ElementsAre(Quarantined("layer3", "definition: missing")));
}

TEST_P(StoreConformance, LedgerOfNoNormalizerIsQuarantined) {
  CommitBatch batch;
  batch.sessions.push_back(SessionOf(1));
  batch.ledgers.push_back(LedgerOf("ghost", 1, 3));
  Write(batch);
  EXPECT_THAT(ContentsAfterReopen().quarantined,
              ElementsAre(Quarantined("ghost", "definition: missing")));
}

TEST_P(StoreConformance, LedgerOfAMissingSessionQuarantinesItsNormalizer) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.sessions.clear();
  Write(batch);
  EXPECT_THAT(ContentsAfterReopen().quarantined,
              ElementsAre(Quarantined("layer3", "is missing or damaged")));
}

TEST_P(StoreConformance, FewerRowsInLedgersThanCountedIsQuarantined) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.ledgers[0].rows = 3;
  Write(batch);
  EXPECT_THAT(ContentsAfterReopen().quarantined,
              ElementsAre(Quarantined("layer3", "row_count: 4, want 3")));
}

TEST_P(StoreConformance, MoreRowsInLedgersThanCountedIsQuarantined) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.ledgers[0].rows = std::numeric_limits<uint64_t>::max();
  batch.states[0].base_rows = 4;  // together they wrap around to less
  Write(batch);
  EXPECT_THAT(ContentsAfterReopen().quarantined,
              ElementsAre(Quarantined("layer3", "row_count: 4, want")));
}

TEST_P(StoreConformance, StateOfAnotherWidthIsQuarantined) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.definitions[0] = DefinitionOf("layer3", 3);
  Write(batch);
  EXPECT_THAT(ContentsAfterReopen().quarantined,
              ElementsAre(Quarantined("layer3", "2 features, want 3")));
}

TEST_P(StoreConformance, MomentsOfAnotherKindAreQuarantined) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.definitions[0].scaling.method = ScalingMethod::kStandard;
  batch.definitions[0].kind.window = {Window::Kind::kHalfLifeRows, 7};
  Write(batch);
  EXPECT_THAT(ContentsAfterReopen().quarantined,
              ElementsAre(Quarantined("layer3", "state: of another window")));
}

TEST_P(StoreConformance, EveryKindOfMomentsComesBack) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  MomentsKind& kind = batch.definitions[0].kind;
  kind = {{Window::Kind::kWindowRows, 100}, true};
  batch.definitions[0].scaling.method = ScalingMethod::kStandard;
  Moments moments(2, kind);
  moments.Merge(batch.states[0].moments);
  batch.states[0].moments = moments;
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_EQ(Find(contents, "layer3")->definition, batch.definitions[0]);
  EXPECT_TRUE(SameState(Find(contents, "layer3")->state, batch.states[0]));
}

TEST_P(StoreConformance, SnapshotsComeBackUntilTheyAreDeleted) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  for (const char* id : {"a", "b", "c"}) {
    batch.snapshots.push_back(std::make_shared<const SnapshotRecord>(
        SnapshotOf("layer3", id, batch.states[0])));
  }
  Write(batch);
  CommitBatch deletion;
  deletion.deleted_snapshots = {{"layer3", "b"}, {"layer3", "c"}};
  deletion.snapshots = {batch.snapshots[2]};  // made again
  Write(deletion);
  const StoreContents contents = ContentsAfterReopen();
  const StoreContents::Normalizer* found = Find(contents, "layer3");
  ASSERT_THAT(found, NotNull());
  ASSERT_THAT(found->snapshots, SizeIs(2));
  EXPECT_TRUE(SameSnapshot(*found->snapshots[0], *batch.snapshots[0]));
  EXPECT_TRUE(SameSnapshot(*found->snapshots[1], *batch.snapshots[2]));
}

TEST_P(StoreConformance, DeletedNormalizerTakesItsSnapshotsAlong) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.snapshots.push_back(std::make_shared<const SnapshotRecord>(
      SnapshotOf("layer3", "a", batch.states[0])));
  CommitBatch other = BatchOf("layer3.b", 2, 4);
  other.snapshots.push_back(std::make_shared<const SnapshotRecord>(
      SnapshotOf("layer3.b", "a", other.states[0])));
  Write(batch);
  Write(other);
  CommitBatch deletion;
  deletion.deleted_normalizers = {"layer3"};
  Write(deletion);
  Write(BatchOf("layer3", 1, 4));
  const StoreContents contents = ContentsAfterReopen();
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_THAT(Find(contents, "layer3")->snapshots, IsEmpty());
  ASSERT_THAT(Find(contents, "layer3.b"), NotNull());
  EXPECT_THAT(Find(contents, "layer3.b")->snapshots, SizeIs(1));
}

TEST_P(StoreConformance, SnapshotOfAnotherWidthIsDamagedAlone) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.snapshots.push_back(std::make_shared<const SnapshotRecord>(
      SnapshotOf("layer3", "a", StateOf("layer3", 3, 4))));
  Write(batch);
  const StoreContents contents = ContentsAfterReopen();
  EXPECT_THAT(contents.quarantined, IsEmpty());
  ASSERT_THAT(Find(contents, "layer3"), NotNull());
  EXPECT_THAT(Find(contents, "layer3")->snapshots, IsEmpty());
  EXPECT_THAT(Find(contents, "layer3")->damaged_snapshots, SizeIs(1));
}

TEST_P(StoreConformance, GenerationBeforeBirthIsQuarantined) {
  CommitBatch batch = BatchOf("layer3", 1, 4);
  batch.states[0].generation = batch.definitions[0].birth_generation - 1;
  Write(batch);
  EXPECT_THAT(ContentsAfterReopen().quarantined,
              ElementsAre(Quarantined("layer3", "generation")));
}

TEST_P(StoreConformance, QuarantineOfOneLeavesTheOthersServing) {
  CommitBatch bad = BatchOf("bad", 1, 4);
  bad.ledgers[0].rows = 3;
  Write(bad);
  Write(BatchOf("good", 1, 4));
  const StoreContents contents = ContentsAfterReopen();
  EXPECT_THAT(IdsOf(contents), ElementsAre("good"));
  EXPECT_THAT(contents.quarantined, SizeIs(1));
  EXPECT_THAT(contents.sessions, SizeIs(1));
}

TEST_P(StoreConformance, QuarantinedNormalizerCanBeDeleted) {
  CommitBatch bad = BatchOf("bad", 1, 4);
  bad.definitions.clear();
  Write(bad);
  CommitBatch deletion;
  deletion.deleted_normalizers = {"bad"};
  Write(deletion);
  EXPECT_THAT(ContentsAfterReopen().quarantined, IsEmpty());
}

// ---- Maintenance. ----

TEST_P(StoreConformance, BackupIsWholeOrRefusedAndChangesNothing) {
  Write(BatchOf("layer3", 1, 4));
  const TempDir dir;
  const std::string path = dir / "backup";
  const auto summary = store().Backup({.path = path}, nullptr);
  if (summary.ok()) {
    EXPECT_EQ(summary->normalizers, 1u);
    EXPECT_EQ(summary->records, 4u);
  } else {
    EXPECT_TRUE(absl::IsFailedPrecondition(summary.status()))
        << summary.status();
  }
  EXPECT_EQ(std::filesystem::exists(path), summary.ok());
  EXPECT_THAT(Find(ContentsAfterReopen(), "layer3"), NotNull());
}

TEST_P(StoreConformance, VerifyFindsNoDamageInWhatWasWritten) {
  Write(BatchOf("layer3", 1, 4));
  const auto report = store().Verify(nullptr);
  if (report.ok()) {
    EXPECT_TRUE(report->clean());
    EXPECT_EQ(report->records, 4u);
  } else {
    EXPECT_TRUE(absl::IsFailedPrecondition(report.status())) << report.status();
  }
  EXPECT_THAT(Find(ContentsAfterReopen(), "layer3"), NotNull());
}

}  // namespace
}  // namespace streamnorm
