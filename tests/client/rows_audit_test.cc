// What a client may claim of its rows, against a server that is a few lines of
// arithmetic: it never claims what is wrong, and claims again after a Barrier.

#include "client/rows_audit.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace streamnorm {
namespace {

constexpr uint64_t kGeneration = 5;

v1::SessionProgress Progress(uint64_t applied, uint64_t rows,
                             uint64_t generation = kGeneration) {
  v1::SessionProgress progress;
  progress.set_applied_sequence(applied);
  progress.set_rows(rows);
  progress.set_generation(generation);
  return progress;
}

TEST(RowsAuditTest, AddsUpWhatAnswersTold) {
  RowsAudit audit;
  EXPECT_EQ(audit.Rows(kGeneration), std::nullopt);
  audit.Sent(1);
  audit.Answered(1, kGeneration, 3, false);
  EXPECT_EQ(audit.Rows(kGeneration), 3);
  audit.Sent(2);
  EXPECT_EQ(audit.Rows(kGeneration), std::nullopt) << "on its way";
  audit.Answered(2, kGeneration, 0, false);  // frozen
  EXPECT_EQ(audit.Rows(kGeneration), 3);
  audit.Released(1);
  audit.Released(2);
  EXPECT_EQ(audit.Rows(kGeneration), 3);
  EXPECT_EQ(audit.Rows(kGeneration + 1), std::nullopt);
}

TEST(RowsAuditTest, ARefusedUpdateCountsNothing) {
  RowsAudit audit;
  audit.Sent(1);
  audit.Answered(1, kGeneration, 3, false);
  audit.Sent(2);
  audit.Refused(2);
  EXPECT_EQ(audit.Rows(kGeneration), 3);
}

TEST(RowsAuditTest, ADuplicateLeavesItInDoubtUntilABarrier) {
  RowsAudit audit;
  audit.Sent(1);
  audit.Answered(1, kGeneration, 0, true);
  EXPECT_EQ(audit.Rows(kGeneration), std::nullopt);
  audit.Released(1);
  EXPECT_EQ(audit.Rows(kGeneration), std::nullopt);
  audit.GoOnFrom(Progress(1, 7), 1);
  EXPECT_EQ(audit.Rows(kGeneration), 7);
}

TEST(RowsAuditTest, AnAnswerToWhatTheServerLostIsVoid) {
  RowsAudit audit;
  audit.Sent(1);
  audit.Answered(1, kGeneration, 3, false);
  audit.SentAgain(1);
  EXPECT_EQ(audit.Rows(kGeneration), std::nullopt);
  audit.Answered(1, kGeneration, 0, false);  // frozen since
  EXPECT_EQ(audit.Rows(kGeneration), 0);
}

TEST(RowsAuditTest, AResetBeginsAnew) {
  RowsAudit audit;
  audit.Sent(1);
  audit.Answered(1, kGeneration, 3, false);
  audit.Sent(2);
  audit.Answered(2, kGeneration + 1, 0, false);
  EXPECT_EQ(audit.Rows(kGeneration + 1), 0);
  audit.SentAgain(1);
  audit.Answered(1, kGeneration + 1, 0, false);
  EXPECT_EQ(audit.Rows(kGeneration + 1), 0);
}

TEST(RowsAuditTest, AResumedSessionIsInDoubtWhereTheServerHasMore) {
  RowsAudit audit;
  audit.GoOnFrom(Progress(8, 20), 5);
  EXPECT_EQ(audit.Rows(kGeneration), std::nullopt);
  audit.GoOnFrom(Progress(5, 12), 5);
  EXPECT_EQ(audit.Rows(kGeneration), 12);
  v1::SessionProgress gap = Progress(5, 12);
  gap.set_window("\x02");
  audit.GoOnFrom(gap, 5);
  EXPECT_EQ(audit.Rows(kGeneration), std::nullopt);
}

// A server that freezes, resets, refuses, loses what is not durable and loses
// answers, at random. Whatever the audit claims is what the server has.
class Simulation {
 public:
  explicit Simulation(unsigned seed) : random_(seed) {}

  void Step() {
    switch (random_() % 8) {
      case 0:
        frozen_ = !frozen_;
        durable_ = last_;  // a change of the resource is committed
        return;
      case 1:
        if (random_() % 4 != 0) return;
        ++generation_;
        for (auto& [sequence, update] : counted_) update.rows = 0;
        durable_ = last_;
        return;
      case 2:
        durable_ += random_() % (last_ - durable_ + 1);
        while (released_ < durable_) audit_.Released(++released_);
        return;
      case 3:
        return Crash();
      default:
        return Update();
    }
  }

  void Check() {
    const auto claimed = audit_.Rows(learned_);
    if (!claimed || learned_ != generation_) return;
    ++claims_;
    ASSERT_EQ(*claimed, ServerRows());
  }
  int claims() const { return claims_; }

 private:
  struct Counted {
    uint64_t rows = 0;
    uint64_t born = 0;
  };

  void Update() {
    const uint64_t sequence = last_ + 1;
    audit_.Sent(sequence);
    if (random_() % 6 == 0) return audit_.Refused(sequence);
    last_ = sequence;
    born_[sequence] = learned_ == 0 ? generation_ : learned_;
    const uint64_t rows = Count(sequence);
    if (random_() % 6 == 0) return Resume();  // the answer is lost
    Answer(sequence, rows, false);
  }

  uint64_t Count(uint64_t sequence) {
    const bool counts = !frozen_ && born_[sequence] == generation_;
    const uint64_t rows = counts ? 1 + random_() % 5 : 0;
    counted_[sequence] = {rows, born_[sequence]};
    return rows;
  }

  void Answer(uint64_t sequence, uint64_t rows, bool duplicate) {
    audit_.Answered(sequence, generation_, rows, duplicate);
    learned_ = std::max(learned_, generation_);
  }

  // What was not answered is sent again, though the server has it.
  void Resume() { Answer(last_, 0, true); }

  void Crash() {
    counted_.erase(counted_.upper_bound(durable_), counted_.end());
    for (uint64_t s = released_ + 1; s <= durable_; ++s) audit_.Released(s);
    released_ = std::max(released_, durable_);
    for (uint64_t s = durable_ + 1; s <= last_; ++s) audit_.SentAgain(s);
    for (uint64_t s = durable_ + 1; s <= last_; ++s) {
      Answer(s, Count(s), false);
    }
    if (random_() % 2 != 0) return;
    durable_ = last_;
    while (released_ < durable_) audit_.Released(++released_);
    audit_.GoOnFrom(Progress(last_, ServerRows(), generation_), last_);
    learned_ = std::max(learned_, generation_);
  }

  uint64_t ServerRows() const {
    uint64_t rows = 0;
    for (const auto& [sequence, update] : counted_) rows += update.rows;
    return rows;
  }

  std::mt19937 random_;
  RowsAudit audit_;
  std::map<uint64_t, Counted> counted_;  // by the server
  std::map<uint64_t, uint64_t> born_;
  uint64_t last_ = 0, durable_ = 0, released_ = 0;
  uint64_t generation_ = kGeneration;  // the server's
  uint64_t learned_ = 0;               // the client's
  bool frozen_ = false;
  int claims_ = 0;
};

TEST(RowsAuditTest, NeverClaimsWhatTheServerDoesNotHave) {
  int claims = 0;
  for (unsigned seed = 0; seed < 500; ++seed) {
    Simulation simulation(seed);
    for (int step = 0; step < 200; ++step) {
      simulation.Step();
      simulation.Check();
      if (HasFatalFailure()) FAIL() << "seed " << seed << ", step " << step;
    }
    claims += simulation.claims();
  }
  EXPECT_GT(claims, 5000) << "it should claim something";
}

}  // namespace
}  // namespace streamnorm
