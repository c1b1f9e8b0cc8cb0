// One normalizer without gRPC and without a store: what counts, what is
// answered, and what a commit would take along.

#include "server/normalizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "server/commit_queue.h"

namespace streamnorm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class NormalizerTest : public testing::Test {
 protected:
  NormalizerTest()
      : session_(std::make_shared<Session>(
            SessionRecord{SessionId{{1}}, 1, "test", 0})) {
    NormalizerDefinition definition;
    definition.id = "n";
    definition.features = 2;
    definition.birth_generation = 5;
    Create(definition);
  }

  void Create(const NormalizerDefinition& definition) {
    NormalizerState state;
    state.id = definition.id;
    state.generation = definition.birth_generation;
    state.moments = Moments(definition.features);
    normalizer_ = std::make_shared<Normalizer>(definition, state, &queue_);
  }

  void Change(const std::function<void(NormalizerDefinition*)>& change) {
    ASSERT_TRUE(normalizer_
                    ->UpdateDefinition(0,
                                       [&](NormalizerDefinition* d) {
                                         change(d);
                                         return absl::OkStatus();
                                       })
                    .ok());
  }

  NormalizeCall Call(const std::vector<double>& values, uint64_t sequence = 0,
                     Mode mode = Mode::kUpdateThenNormalize) {
    rows_ = values;
    NormalizeCall call;
    call.input = {reinterpret_cast<const uint8_t*>(rows_.data()),
                  DataType::kFp64, rows_.size() / 2, 2};
    call.mode = mode;
    if (sequence != 0) {
      call.source.session = session_;
      call.source.id = {session_->id(), session_->ToRecord().epoch, sequence,
                        5};
      call.source.fingerprint =
          1 + static_cast<uint32_t>(std::hash<double>()(values[0]) % 1000);
    }
    return call;
  }

  absl::StatusOr<NormalizeOutcome> Run(const NormalizeCall& call) {
    output_.assign(rows_.size(), 0.0);
    return normalizer_->Normalize(
        call, call.mode == Mode::kUpdateOnly
                  ? nullptr
                  : reinterpret_cast<uint8_t*>(output_.data()));
  }

  // What a commit would write now, as one comparable text.
  NormalizerState State() {
    NormalizerState copy;
    normalizer_->Read([&](const NormalizerDefinition&,
                          const NormalizerState& state) { copy = state; });
    return copy;
  }

  void ExpectUnchanged(const NormalizerState& before) {
    const NormalizerState now = State();
    EXPECT_EQ(now.revision, before.revision);
    EXPECT_EQ(now.base_rows, before.base_rows);
    EXPECT_EQ(now.moments.row_count(), before.moments.row_count());
    for (size_t j = 0; j < 2; ++j) {
      EXPECT_EQ(now.moments.mean()[j], before.moments.mean()[j]);
      EXPECT_EQ(now.moments.m2()[j], before.moments.m2()[j]);
    }
  }

  CommitQueue queue_;
  std::shared_ptr<Session> session_;
  std::shared_ptr<Normalizer> normalizer_;
  std::vector<double> rows_, output_;
};

TEST_F(NormalizerTest, UpdateThenNormalizeIncludesItsOwnRows) {
  const auto outcome = Run(Call({1, 10, 3, 30}));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(output_, ElementsAre(-1, -1, 1, 1));
  EXPECT_EQ(outcome->update.row_count, 2);
  EXPECT_EQ(outcome->update.revision, 1);
  EXPECT_EQ(outcome->update.counted_rows, 2);
}

TEST_F(NormalizerTest, NormalizeThenUpdateSeesOnlyThePast) {
  ASSERT_TRUE(Run(Call({1, 10, 3, 30})).ok());
  const auto outcome = Run(Call({5, 50}, 0, Mode::kNormalizeThenUpdate));
  ASSERT_TRUE(outcome.ok());
  EXPECT_THAT(output_, ElementsAre(3, 3));
  EXPECT_EQ(outcome->update.row_count, 3);
}

TEST_F(NormalizerTest, NormalizeOnlyNeverWritesWhateverElseIsSet) {
  ASSERT_TRUE(Run(Call({1, 10, 3, 30})).ok());
  const auto before = State();
  const auto outcome = Run(Call({5, 50}, 1, Mode::kNormalizeOnly));
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->update.counted_rows, 0);
  ExpectUnchanged(before);
  EXPECT_FALSE(normalizer_->SessionProgress(session_->id()).has_value());
}

TEST_F(NormalizerTest, ADuplicateIsAnsweredAndNotCounted) {
  ASSERT_TRUE(Run(Call({1, 10, 3, 30}, 1)).ok());
  const auto before = State();
  const auto again = Run(Call({1, 10, 3, 30}, 1));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->update.duplicate);
  EXPECT_EQ(again->update.counted_rows, 0);
  EXPECT_THAT(output_, ElementsAre(-1, -1, 1, 1));
  ExpectUnchanged(before);
}

TEST_F(NormalizerTest, AnotherPayloadUnderACountedSequenceIsAConflict) {
  ASSERT_TRUE(Run(Call({1, 10}, 1)).ok());
  const auto before = State();
  EXPECT_TRUE(absl::IsAborted(Run(Call({2, 10}, 1)).status()));
  ExpectUnchanged(before);
}

TEST_F(NormalizerTest, AnOldEpochIsFenced) {
  const NormalizeCall old = Call({1, 10}, 1);
  ASSERT_TRUE(session_->RaiseEpoch(&queue_).ok());
  EXPECT_TRUE(absl::IsAborted(Run(old).status()));
  EXPECT_FALSE(normalizer_->SessionProgress(session_->id()).has_value());
}

TEST_F(NormalizerTest, ARefusedUpdateUsesNoSequenceUp) {
  const double nan = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(Run(Call({1, nan}, 1)).ok());
  const auto outcome = Run(Call({1, 10}, 1));
  ASSERT_TRUE(outcome.ok());
  EXPECT_FALSE(outcome->update.duplicate);
  EXPECT_EQ(outcome->update.counted_rows, 1);
}

TEST_F(NormalizerTest, AnUpdateBornBeforeAResetIsUsedUpAndNeverCounted) {
  ASSERT_TRUE(Run(Call({1, 10}, 1)).ok());
  const NormalizeCall late = Call({2, 20}, 2);
  ASSERT_TRUE(normalizer_->Reset(0, 6).ok());
  const auto outcome = Run(late);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->update.counted_rows, 0);
  EXPECT_EQ(outcome->update.generation, 6);
  const auto progress = normalizer_->SessionProgress(session_->id());
  EXPECT_EQ(progress->applied_sequence, 2);
  EXPECT_EQ(progress->rows, 0);
  EXPECT_EQ(State().moments.row_count(), 0);
}

TEST_F(NormalizerTest, AnUpdateOfADeletedNamesakeIsRefusedAndNotUsedUp) {
  NormalizeCall call = Call({1, 10}, 1);
  call.source.id.generation = 4;  // before birth
  EXPECT_TRUE(absl::IsFailedPrecondition(Run(call).status()));
  call.source.id.generation = 6;  // not yet
  EXPECT_TRUE(absl::IsFailedPrecondition(Run(call).status()));
  EXPECT_FALSE(normalizer_->SessionProgress(session_->id()).has_value());
}

TEST_F(NormalizerTest, WhileFrozenNothingCountsAndSequencesGoOn) {
  ASSERT_TRUE(Run(Call({1, 10, 3, 30}, 1)).ok());
  Change([](NormalizerDefinition* d) { d->frozen = true; });
  const auto before = State();
  const auto outcome = Run(Call({7, 70}, 2));
  ASSERT_TRUE(outcome.ok());
  EXPECT_TRUE(outcome->update.frozen);
  EXPECT_EQ(outcome->update.counted_rows, 0);
  EXPECT_THAT(output_, ElementsAre(5, 5));
  ExpectUnchanged(before);
  EXPECT_EQ(normalizer_->SessionProgress(session_->id())->applied_sequence, 2);
}

TEST_F(NormalizerTest, FailIfFrozenIsAnErrorThatUsesNothingUp) {
  Change([](NormalizerDefinition* d) { d->frozen = true; });
  NormalizeCall call = Call({7, 70}, 1);
  call.source.fail_if_frozen = true;
  EXPECT_TRUE(absl::IsFailedPrecondition(Run(call).status()));
  EXPECT_FALSE(normalizer_->SessionProgress(session_->id()).has_value());
}

TEST_F(NormalizerTest, ABadValueInAnUpdateThatWouldNotCountUsesNothingUp) {
  Change([](NormalizerDefinition* d) { d->frozen = true; });
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(Run(Call({infinity, 1}, 1)).ok());
  EXPECT_FALSE(normalizer_->SessionProgress(session_->id()).has_value());
}

TEST_F(NormalizerTest, BelowMinimumRowsTheBatchCentresOnItself) {
  const auto outcome = Run(Call({1, 10}, 1));
  ASSERT_TRUE(outcome.ok());
  EXPECT_TRUE(outcome->update.warming_up);
  EXPECT_THAT(output_, ElementsAre(0, 0));
}

TEST_F(NormalizerTest, AnOverflowNamesTheFeatureAndChangesNothing) {
  const auto before = State();
  const auto outcome = Run(Call({1, 1e200, 2, -1e200}, 1));
  EXPECT_THAT(std::string(outcome.status().message()),
              HasSubstr("input[*][1]"));
  ExpectUnchanged(before);
}

TEST_F(NormalizerTest, RetiredItIsNotFound) {
  ASSERT_TRUE(normalizer_->Retire(0).ok());
  EXPECT_TRUE(absl::IsNotFound(Run(Call({1, 10}, 1)).status()));
  EXPECT_TRUE(absl::IsNotFound(normalizer_->Retire(0)));
}

TEST_F(NormalizerTest, ACaptureHasStatisticsAndSessionsTogether) {
  ASSERT_TRUE(Run(Call({1, 10, 3, 30}, 1)).ok());
  CommitBatch batch;
  const auto watermarks = normalizer_->Capture(&batch);
  ASSERT_EQ(batch.states.size(), 1);
  ASSERT_EQ(batch.ledgers.size(), 1);
  EXPECT_EQ(batch.states[0].moments.row_count(), 2);
  EXPECT_EQ(batch.ledgers[0].applied_sequence, 1);
  EXPECT_EQ(batch.ledgers[0].rows, 2);
  ASSERT_EQ(watermarks.sequences.size(), 1);
  EXPECT_EQ(watermarks.sequences[0].second, 1);
}

TEST_F(NormalizerTest, WhatIsCountedAfterTheCaptureIsNotPublishedWithIt) {
  ASSERT_TRUE(Run(Call({1, 10}, 1)).ok());
  CommitBatch batch;
  const auto watermarks = normalizer_->Capture(&batch);
  ASSERT_TRUE(Run(Call({2, 20}, 2)).ok());
  EXPECT_EQ(normalizer_->DurableSequence(session_->id()), 0);
  normalizer_->PublishDurable(watermarks);
  EXPECT_EQ(normalizer_->DurableSequence(session_->id()), 1);
}

TEST_F(NormalizerTest, RowsOfAnEndedSessionStay) {
  ASSERT_TRUE(Run(Call({1, 10, 3, 30}, 1)).ok());
  CommitBatch first;
  normalizer_->Capture(&first);
  ASSERT_TRUE(session_->End(1, &queue_).ok());
  normalizer_->DropLedger(session_->id());
  CommitBatch second;
  normalizer_->Capture(&second);
  EXPECT_EQ(second.states.at(0).base_rows, 2);
  EXPECT_EQ(second.states.at(0).moments.row_count(), 2);
  ASSERT_EQ(second.deleted_ledgers.size(), 1);
  EXPECT_EQ(second.deleted_ledgers[0].second, session_->id());
}

TEST_F(NormalizerTest, TheClientsCountOfItsRowsIsCompared) {
  const auto run = [&](uint64_t sequence, uint64_t rows_sent_total) {
    NormalizeCall call = Call({double(sequence), 1, 2, 2}, sequence);
    call.source.rows_sent_total = rows_sent_total;
    return Run(call).status();
  };
  EXPECT_TRUE(absl::IsDataLoss(run(1, 3)));
  EXPECT_FALSE(normalizer_->SessionProgress(session_->id()).has_value());
  EXPECT_TRUE(run(1, 2).ok());
  EXPECT_TRUE(run(1, 99).ok()) << "a duplicate is not compared";
  EXPECT_TRUE(run(3, 99).ok()) << "2 is missing";
  EXPECT_TRUE(run(2, 99).ok()) << "3 is there";
  const auto before = State();
  EXPECT_TRUE(absl::IsDataLoss(run(4, 6)));
  ExpectUnchanged(before);
  EXPECT_TRUE(run(4, 8).ok());
  Change([](NormalizerDefinition* d) { d->frozen = true; });
  EXPECT_TRUE(run(5, 99).ok()) << "not counted, so not compared";
  Change([](NormalizerDefinition* d) { d->frozen = false; });
  EXPECT_TRUE(run(6, 10).ok());
}

TEST_F(NormalizerTest, ASessionsRowsAreComparedWhereTheyCanBe) {
  const auto check = [&](uint64_t generation, uint64_t sequence,
                         uint64_t rows) {
    return normalizer_->CheckSentRows(session_->id(),
                                      {generation, sequence, rows});
  };
  EXPECT_TRUE(check(5, 1, 9).ok()) << "no ledger";
  ASSERT_TRUE(Run(Call({1, 10, 3, 30}, 1)).ok());
  EXPECT_TRUE(check(5, 1, 2).ok());
  EXPECT_TRUE(absl::IsDataLoss(check(5, 1, 3)));
  EXPECT_TRUE(check(4, 1, 3).ok()) << "of another generation";
  EXPECT_TRUE(check(5, 2, 3).ok()) << "knows of more";
  ASSERT_TRUE(Run(Call({4, 40}, 3)).ok());
  EXPECT_TRUE(check(5, 1, 9).ok()) << "another came";
}

// As if rows had been lost or counted twice: base and ledgers still add up.
TEST_F(NormalizerTest, AWrongLedgerIsFoundByItsClient) {
  normalizer_->RestoreLedger({"n", session_->id(), 3, {}, /*rows=*/7},
                             session_);
  NormalizeCall call = Call({1, 10}, 4);
  call.source.rows_sent_total = 7;
  EXPECT_TRUE(absl::IsDataLoss(Run(call).status()));
  EXPECT_TRUE(
      absl::IsDataLoss(normalizer_->CheckSentRows(session_->id(), {5, 3, 6})));
  call.source.rows_sent_total = 8;
  EXPECT_TRUE(Run(call).ok());
}

TEST_F(NormalizerTest, SkippedSequencesLetTheWatermarkPass) {
  ASSERT_TRUE(Run(Call({1, 10}, 2)).ok());
  EXPECT_EQ(normalizer_->SessionProgress(session_->id())->applied_sequence, 0);
  ASSERT_TRUE(normalizer_->SkipSequences(session_, 1, {1, 2}).ok());
  const auto progress = normalizer_->SessionProgress(session_->id());
  EXPECT_EQ(progress->applied_sequence, 2);
  EXPECT_EQ(progress->rows, 1);
  EXPECT_TRUE(
      absl::IsAborted(normalizer_->SkipSequences(session_, 1, {3, 5000})));
  EXPECT_EQ(normalizer_->SessionProgress(session_->id())->applied_sequence, 2)
      << "refused, it uses none up";
  EXPECT_TRUE(absl::IsAborted(normalizer_->SkipSequences(session_, 9, {3})));
}

TEST_F(NormalizerTest, MergedMomentsEqualSentRows) {
  ASSERT_TRUE(Run(Call({1, 10, 3, 30, 8, 1})).ok());
  const NormalizerState by_rows = State();
  NormalizerDefinition definition;
  definition.id = "m";
  definition.features = 2;
  Create(definition);
  const Moments& moments = by_rows.moments;
  MergeCall call;
  call.moments = {2, moments.row_count(), moments.mean().data(),
                  moments.m2().data()};
  std::vector<double> mean(2), variance(2), offset(2), scale(2);
  const MergedStatistics statistics{mean.data(), variance.data(), offset.data(),
                                    scale.data()};
  ASSERT_TRUE(normalizer_->MergeMoments(call, &statistics).ok());
  EXPECT_EQ(State().moments.row_count(), 3);
  EXPECT_DOUBLE_EQ(mean[0], 4);
  EXPECT_DOUBLE_EQ(variance[0], moments.variance(0));
  EXPECT_DOUBLE_EQ(offset[0], mean[0]);
  EXPECT_DOUBLE_EQ(scale[0] * scale[0] * variance[0], 1);
}

// Eight threads, each with a session of its own, each update sent twice.
TEST_F(NormalizerTest, ConcurrentSessionsCountEveryRowOnce) {
  constexpr int kThreads = 8;
  constexpr uint64_t kUpdates = 500;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      auto session = std::make_shared<Session>(
          SessionRecord{SessionId{{static_cast<uint8_t>(10 + t)}}, 1, "", 0});
      for (uint64_t s = 1; s <= kUpdates; ++s) {
        const std::vector<double> rows = {double(t), double(s)};
        std::vector<double> output(2);
        NormalizeCall call;
        call.input = {reinterpret_cast<const uint8_t*>(rows.data()),
                      DataType::kFp64, 1, 2};
        call.source = {session, {session->id(), 1, s, 5}, 1, false};
        for (const bool duplicate : {false, true}) {
          const auto outcome = normalizer_->Normalize(
              call, reinterpret_cast<uint8_t*>(output.data()));
          ASSERT_TRUE(outcome.ok()) << outcome.status();
          ASSERT_EQ(outcome->update.duplicate, duplicate);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const NormalizerState state = State();
  EXPECT_EQ(state.moments.row_count(), kThreads * kUpdates);
  EXPECT_EQ(state.revision, kThreads * kUpdates);
  EXPECT_DOUBLE_EQ(state.moments.mean()[0], 3.5);
  EXPECT_DOUBLE_EQ(state.moments.mean()[1], 250.5);
}

}  // namespace
}  // namespace streamnorm
