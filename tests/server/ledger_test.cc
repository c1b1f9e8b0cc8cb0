// Which sequence numbers count: the bitmap, against a plain set.

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "server/sessions.h"

namespace streamnorm {
namespace {

using Verdict = Ledger::Verdict;

constexpr uint64_t kEpoch = 1;
constexpr uint32_t kFingerprint = 77;

TEST(LedgerTest, CountsInOrder) {
  Ledger ledger;
  for (uint64_t s = 1; s <= 3000; ++s) {
    EXPECT_EQ(ledger.Check(s), Verdict::kNew);
    ledger.Count(s, kEpoch, kFingerprint, 2);
    EXPECT_EQ(ledger.Check(s), Verdict::kCounted);
    EXPECT_EQ(ledger.applied_sequence(), s);
  }
  EXPECT_EQ(ledger.rows(), 6000);
}

TEST(LedgerTest, RefusesWhatIsBeyondTheWindow) {
  Ledger ledger;
  EXPECT_EQ(ledger.Check(kSequenceWindow), Verdict::kNew);
  EXPECT_EQ(ledger.Check(kSequenceWindow + 1), Verdict::kOutOfWindow);
  ledger.Count(1, kEpoch, kFingerprint, 1);
  EXPECT_EQ(ledger.Check(kSequenceWindow + 1), Verdict::kNew);
  EXPECT_EQ(ledger.Check(~uint64_t{0}), Verdict::kOutOfWindow);
}

TEST(LedgerTest, AGapKeepsTheAppliedSequenceBackUntilItIsFilled) {
  Ledger ledger;
  for (uint64_t s = 2; s <= kSequenceWindow; ++s) {
    ledger.Count(s, kEpoch, kFingerprint, 1);
  }
  EXPECT_EQ(ledger.applied_sequence(), 0);
  ledger.Count(1, kEpoch, kFingerprint, 1);
  EXPECT_EQ(ledger.applied_sequence(), kSequenceWindow);
  EXPECT_FALSE(ledger.window().any());
}

TEST(LedgerTest, AgreesWithASetUnderRandomOrder) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20; ++round) {
    Ledger ledger;
    std::set<uint64_t> counted;
    for (int step = 0; step < 5000; ++step) {
      const uint64_t low = ledger.applied_sequence();
      const uint64_t s = low + 1 + random() % 1100;
      const bool in_window = s <= low + kSequenceWindow;
      const Verdict want = counted.contains(s) ? Verdict::kCounted
                           : in_window         ? Verdict::kNew
                                               : Verdict::kOutOfWindow;
      ASSERT_EQ(ledger.Check(s), want);
      if (want != Verdict::kNew) continue;
      ledger.Count(s, kEpoch, kFingerprint, 1);
      counted.insert(s);
    }
    for (uint64_t s = 1; s <= ledger.applied_sequence(); ++s) {
      ASSERT_TRUE(counted.contains(s));
    }
    EXPECT_EQ(ledger.rows(), counted.size());
  }
}

TEST(LedgerTest, RestoresFromItsRecord) {
  Ledger ledger;
  for (const uint64_t s : {1u, 2u, 5u, 9u, 1000u}) {
    ledger.Count(s, kEpoch, kFingerprint, 3);
  }
  const LedgerRecord record = ledger.ToRecord("n", SessionId());
  const Ledger restored(record);
  EXPECT_EQ(restored.ToRecord("n", SessionId()), record);
  EXPECT_EQ(restored.durable_sequence(), 2);
  EXPECT_EQ(restored.Check(5), Verdict::kCounted);
  EXPECT_EQ(restored.Check(6), Verdict::kNew);
}

TEST(LedgerTest, KnowsAnotherPayloadWithinTheWindow) {
  Ledger ledger;
  for (uint64_t s = 1; s <= 2000; ++s) {
    ledger.Count(s, kEpoch, static_cast<uint32_t>(s), 1);
  }
  EXPECT_FALSE(ledger.Conflicts(2000, kEpoch, 2000));
  EXPECT_TRUE(ledger.Conflicts(2000, kEpoch, 1999));
  EXPECT_TRUE(ledger.Conflicts(977, kEpoch, 1));
  EXPECT_FALSE(ledger.Conflicts(976, kEpoch, 1)) << "too old to be known";
}

TEST(LedgerTest, AnotherEpochMayRepeatWithOtherPayloads) {
  Ledger ledger;
  ledger.Count(1, kEpoch, kFingerprint, 1);
  EXPECT_FALSE(ledger.Conflicts(1, kEpoch + 1, kFingerprint + 1));
  ledger.Count(2, kEpoch + 1, kFingerprint, 1);
  EXPECT_FALSE(ledger.Conflicts(1, kEpoch + 1, kFingerprint + 1));
  EXPECT_TRUE(ledger.Conflicts(2, kEpoch + 1, kFingerprint + 1));
}

TEST(LedgerTest, TheDurableSequenceNeverGoesBack) {
  Ledger ledger;
  ledger.PublishDurable(7);
  ledger.PublishDurable(5);
  EXPECT_EQ(ledger.durable_sequence(), 7);
}

TEST(SessionTest, AnEndedSessionTakesNoLedgerAndNoEpoch) {
  CommitQueue queue;
  Session session(SessionRecord{SessionId(), 1, "", 0});
  EXPECT_TRUE(session.AddLedger("a", 1).ok());
  EXPECT_TRUE(absl::IsAborted(session.AddLedger("b", 2))) << "not its epoch";
  EXPECT_TRUE(absl::IsAborted(session.End(2, &queue)));
  EXPECT_TRUE(session.End(1, &queue).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(session.AddLedger("c", 1)));
  EXPECT_TRUE(absl::IsFailedPrecondition(session.Use(1)));
  EXPECT_TRUE(absl::IsFailedPrecondition(session.End(1, &queue)));
  EXPECT_FALSE(session.RaiseEpoch(&queue).ok());
  EXPECT_EQ(session.normalizers(), std::vector<std::string>{"a"});
}

TEST(SessionTest, IsIdleSinceItsLastUse) {
  std::chrono::steady_clock::time_point now;
  const auto environment = std::make_shared<SessionEnvironment>();
  environment->now = [&] { return now; };
  CommitQueue queue;
  Session session(SessionRecord{SessionId(), 1, "", 0}, environment);
  const std::chrono::seconds timeout{10};
  const auto after = [&](int seconds) {
    now += std::chrono::seconds(seconds);
    return session.IdleFor(timeout);
  };
  EXPECT_FALSE(after(9));
  EXPECT_TRUE(absl::IsAborted(session.Use(2)));
  EXPECT_TRUE(after(1)) << "refused is not used";
  EXPECT_TRUE(session.Use(1).ok());
  EXPECT_FALSE(after(9));
  EXPECT_TRUE(session.RaiseEpoch(&queue).ok());
  EXPECT_FALSE(after(9));
  EXPECT_FALSE(session.EndIfIdle(timeout, &queue));
  EXPECT_TRUE(session.Use(2).ok());
  EXPECT_TRUE(after(10));
  EXPECT_TRUE(session.EndIfIdle(timeout, &queue));
  EXPECT_FALSE(session.EndIfIdle(timeout, &queue)) << "once";
}

TEST(SessionTableTest, RefusesMoreThanItsLimit) {
  CommitQueue queue;
  SessionTable table({.max_sessions = 2});
  ASSERT_TRUE(table.Open("a", &queue).ok());
  const auto second = table.Open("b", &queue);
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(table.Open("c", &queue).status()));
  table.Remove(second->id);
  EXPECT_TRUE(table.Open("c", &queue).ok());
}

TEST(SessionTableTest, LedgersOfAllSessionsHaveALimit) {
  SessionTable table({.max_sessions = 2, .max_ledgers = 3});
  CommitQueue queue;
  const auto a = *table.Find(table.Open("a", &queue)->id);
  const auto b = *table.Find(table.Open("b", &queue)->id);
  EXPECT_TRUE(a->AddLedger("n", 1).ok());
  EXPECT_TRUE(a->AddLedger("n", 1).ok()) << "has it";
  EXPECT_TRUE(b->AddLedger("n", 1).ok());
  EXPECT_TRUE(b->AddLedger("m", 1).ok());
  const absl::Status full = a->AddLedger("m", 1);
  EXPECT_TRUE(absl::IsResourceExhausted(full));
  EXPECT_NE(full.message().find("--max_ledgers"), std::string::npos) << full;
  EXPECT_EQ(table.ledgers(), 3);
  b->RemoveLedger("m");
  b->RemoveLedger("m");
  EXPECT_TRUE(a->AddLedger("m", 1).ok());
  b->RestoreLedger("m");
  EXPECT_EQ(table.ledgers(), 4) << "what the store remembers counts";
}

}  // namespace
}  // namespace streamnorm
