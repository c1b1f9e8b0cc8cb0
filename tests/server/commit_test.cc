// The committer against a store that can be held up and made to fail: what is
// promised when.

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "server/committer.h"
#include "server/handler.h"
#include "server/registry.h"
#include "storage/memory_store.h"

namespace streamnorm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience{20'000};

// A memory store whose Sync waits for permission, and whose answers can be
// set. What was written and what was synced is counted.
class HeldStore : public StatisticsStore {
 public:
  std::string_view kind() const override { return "held"; }
  absl::StatusOr<StoreContents> Load() override { return inner_->Load(); }

  absl::Status Write(const CommitBatch& batch) override {
    const std::lock_guard<std::mutex> lock(mu_);
    ++write_calls_;
    if (!write_status_.ok()) return write_status_;
    return inner_->Write(batch);
  }

  absl::Status Sync() override {
    std::unique_lock<std::mutex> lock(mu_);
    ++syncs_started_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return permits_ > 0; });
    --permits_;
    return sync_status_;
  }

  absl::StatusOr<uint64_t> SizeBytes() const override { return 0; }
  absl::StatusOr<uint64_t> FreeBytes() const override { return free_.load(); }
  absl::StatusOr<BackupSummary> Backup(
      const BackupOptions& options,
      const OnStoreProgress& on_progress) const override {
    return inner_->Backup(options, on_progress);
  }
  absl::StatusOr<VerifyReport> Verify(
      const OnStoreProgress& on_progress) const override {
    return inner_->Verify(on_progress);
  }

  void Permit(int syncs) {
    const std::lock_guard<std::mutex> lock(mu_);
    permits_ += syncs;
    changed_.notify_all();
  }
  void SetWriteStatus(absl::Status status) {
    const std::lock_guard<std::mutex> lock(mu_);
    write_status_ = std::move(status);
  }
  void SetSyncStatus(absl::Status status) {
    const std::lock_guard<std::mutex> lock(mu_);
    sync_status_ = std::move(status);
  }
  void SetFree(uint64_t bytes) { free_ = bytes; }

  bool WaitForSyncs(int started) {
    std::unique_lock<std::mutex> lock(mu_);
    return changed_.wait_for(lock, kPatience,
                             [&] { return syncs_started_ >= started; });
  }
  int write_calls() {
    const std::lock_guard<std::mutex> lock(mu_);
    return write_calls_;
  }

 private:
  std::unique_ptr<StatisticsStore> inner_ = NewMemoryStore();
  std::mutex mu_;
  std::condition_variable changed_;
  int permits_ = 0;
  int syncs_started_ = 0;
  int write_calls_ = 0;
  absl::Status write_status_, sync_status_;
  std::atomic<uint64_t> free_{1000};
};

bool Eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return condition();
}

class CommitTest : public testing::Test {
 protected:
  CommitTest() : registry_({100, 10'000}, &queue_) {
    Committer::Options options;
    options.commit_interval = milliseconds(1);
    options.min_free_disk_bytes = 500;
    committer_ = std::make_unique<Committer>(
        options, &store_, &queue_,
        [this](const absl::Status&) { ++failures_; });
    session_ =
        std::make_shared<Session>(SessionRecord{SessionId{{1}}, 1, "test", 0});
  }

  ~CommitTest() override {
    store_.Permit(1'000'000);
    committer_.reset();
  }

  std::shared_ptr<Normalizer> CreateNormalizer() {
    NormalizerDefinition definition;
    definition.id = "n";
    definition.features = 1;
    return *registry_.Create(definition, /*validate_only=*/false);
  }

  void Update(Normalizer* normalizer, uint64_t sequence) {
    const double row = 1;
    NormalizeCall call;
    call.input = {reinterpret_cast<const uint8_t*>(&row), DataType::kFp64, 1,
                  1};
    call.mode = Mode::kUpdateOnly;
    call.source = {session_, {session_->id(), 1, sequence, 1}, 1, false};
    const auto outcome = normalizer->Normalize(call, nullptr);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
  }

  // The answer of WhenDurable; kUnknown while there is none.
  struct Waiter {
    std::atomic<int> code{static_cast<int>(absl::StatusCode::kUnknown)};
    bool done() const { return code != int(absl::StatusCode::kUnknown); }
  };
  void Wait(Waiter* waiter) {
    queue_.WhenDurable([waiter](const absl::Status& status) {
      waiter->code = static_cast<int>(status.code());
    });
  }

  HeldStore store_;
  CommitQueue queue_;
  Registry registry_;
  std::atomic<int> failures_{0};
  std::unique_ptr<Committer> committer_;
  std::shared_ptr<Session> session_;
};

TEST_F(CommitTest, NothingIsDurableBeforeTheSyncReturns) {
  const auto normalizer = CreateNormalizer();
  Update(normalizer.get(), 1);
  Waiter waiter;
  Wait(&waiter);
  ASSERT_TRUE(store_.WaitForSyncs(1));
  EXPECT_FALSE(waiter.done());
  EXPECT_EQ(normalizer->DurableSequence(session_->id()), 0);
  store_.Permit(1'000'000);
  ASSERT_TRUE(Eventually([&] { return waiter.done(); }));
  EXPECT_EQ(waiter.code, 0);
  EXPECT_EQ(normalizer->DurableSequence(session_->id()), 1);
}

TEST_F(CommitTest, TheLagIsTheAgeOfWhatNoWatermarkCovers) {
  EXPECT_EQ(committer_->lag().count(), 0);
  const auto before = std::chrono::steady_clock::now();
  const auto normalizer = CreateNormalizer();
  ASSERT_TRUE(store_.WaitForSyncs(1));
  const auto first = committer_->lag();
  EXPECT_GT(first.count(), 0);
  Update(normalizer.get(), 1);  // younger than what is being synced
  const auto second = committer_->lag();
  EXPECT_GE(second, first);
  EXPECT_LE(second, std::chrono::steady_clock::now() - before);
  store_.Permit(1'000'000);
  EXPECT_TRUE(Eventually([&] { return committer_->lag().count() == 0; }));
  EXPECT_EQ(normalizer->DurableSequence(session_->id()), 1);
  EXPECT_GE(committer_->sync_latency().Snapshot().sum.count(), 0);
}

TEST_F(CommitTest, WhatComesDuringASyncIsNotCoveredByIt) {
  const auto normalizer = CreateNormalizer();
  Update(normalizer.get(), 1);
  Waiter first;
  Wait(&first);
  ASSERT_TRUE(store_.WaitForSyncs(1));
  Update(normalizer.get(), 2);
  Waiter second;
  Wait(&second);
  store_.Permit(1);
  ASSERT_TRUE(Eventually([&] { return first.done(); }));
  EXPECT_EQ(normalizer->DurableSequence(session_->id()), 1);
  ASSERT_TRUE(store_.WaitForSyncs(2));
  EXPECT_FALSE(second.done());
  store_.Permit(1);
  ASSERT_TRUE(Eventually([&] { return second.done(); }));
  EXPECT_EQ(normalizer->DurableSequence(session_->id()), 2);
}

TEST_F(CommitTest, UpdatesAreCommittedWithoutAnyoneWaiting) {
  store_.Permit(1'000'000);
  const auto normalizer = CreateNormalizer();
  Update(normalizer.get(), 1);
  EXPECT_TRUE(Eventually(
      [&] { return normalizer->DurableSequence(session_->id()) == 1; }));
}

TEST_F(CommitTest, ABatchWithoutRoomWaitsAndIsNotLost) {
  store_.Permit(1'000'000);
  const auto normalizer = CreateNormalizer();
  store_.SetWriteStatus(absl::ResourceExhaustedError("no space"));
  Update(normalizer.get(), 1);
  Waiter waiter;
  Wait(&waiter);
  const int calls = store_.write_calls();
  ASSERT_TRUE(Eventually([&] { return store_.write_calls() > calls + 1; }));
  EXPECT_TRUE(absl::IsUnavailable(committer_->AcceptingUpdates()));
  EXPECT_FALSE(waiter.done());
  store_.SetWriteStatus(absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return waiter.done(); }));
  EXPECT_EQ(waiter.code, 0);
  EXPECT_TRUE(Eventually([&] { return committer_->AcceptingUpdates().ok(); }));
  EXPECT_EQ(failures_, 0);
}

// Nor may a later batch be written then: it could have ledgers of a session
// that was in the first.
TEST_F(CommitTest, ABatchGivenUpForLackOfRoomIsToldAndNeverOvertaken) {
  store_.Permit(1'000'000);
  const auto normalizer = CreateNormalizer();
  store_.SetWriteStatus(absl::ResourceExhaustedError("no space"));
  Update(normalizer.get(), 1);
  Waiter waiter;
  Wait(&waiter);
  const int calls = store_.write_calls();
  ASSERT_TRUE(Eventually([&] { return store_.write_calls() > calls + 1; }));
  committer_->StopWaitingForRoom();
  ASSERT_TRUE(Eventually([&] { return waiter.done(); }));
  EXPECT_EQ(waiter.code, static_cast<int>(absl::StatusCode::kUnavailable));
  store_.SetWriteStatus(absl::OkStatus());
  Update(normalizer.get(), 2);
  const int calls_before = store_.write_calls();
  committer_.reset();
  EXPECT_EQ(store_.write_calls(), calls_before);
  EXPECT_EQ(normalizer->DurableSequence(session_->id()), 0);
  EXPECT_EQ(failures_, 0) << "the store did not fail";
}

TEST_F(CommitTest, AFailedSyncEndsItForGood) {
  const auto normalizer = CreateNormalizer();
  Update(normalizer.get(), 1);
  Waiter waiter;
  Wait(&waiter);
  store_.SetSyncStatus(absl::DataLossError("fsync"));
  store_.Permit(1);
  ASSERT_TRUE(Eventually([&] { return waiter.done(); }));
  EXPECT_EQ(waiter.code, static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(failures_, 1);
  EXPECT_EQ(normalizer->DurableSequence(session_->id()), 0);
  // Never a second try: it could succeed without having written.
  store_.SetSyncStatus(absl::OkStatus());
  Waiter later;
  Update(normalizer.get(), 2);
  Wait(&later);
  ASSERT_TRUE(Eventually([&] { return later.done(); }));
  EXPECT_EQ(later.code, static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(failures_, 1);
}

TEST_F(CommitTest, UpdatesAreRefusedBelowTheFreeSpaceAndAcceptedAboveIt) {
  store_.Permit(1'000'000);
  store_.SetFree(499);
  EXPECT_TRUE(Eventually(
      [&] { return absl::IsUnavailable(committer_->AcceptingUpdates()); }));
  store_.SetFree(500);
  EXPECT_TRUE(Eventually([&] { return committer_->AcceptingUpdates().ok(); }));
}

TEST_F(CommitTest, StoppingCommitsTheRest) {
  const auto normalizer = CreateNormalizer();
  Update(normalizer.get(), 1);
  store_.Permit(1'000'000);
  committer_.reset();
  EXPECT_EQ(normalizer->DurableSequence(session_->id()), 1);
  Waiter late;
  Wait(&late);
  EXPECT_EQ(late.code, static_cast<int>(absl::StatusCode::kUnavailable));
}

TEST_F(CommitTest, ADeletionTriedAgainIsAnsweredWhenItIsOnDisk) {
  CreateNormalizer();
  store_.Permit(1);
  Waiter created;
  Wait(&created);
  ASSERT_TRUE(Eventually([&] { return created.done(); }));
  SessionTable sessions({100, 100});
  Handler handler({}, &registry_, &sessions, &queue_, committer_.get());
  v1::DeleteNormalizerRequest request;
  request.set_name("normalizers/n");
  request.set_allow_missing(true);
  std::atomic<int> answers{0};
  const auto count = [&](const absl::Status& s) { answers += s.ok() ? 1 : 0; };
  google::protobuf::Empty empty;
  handler.DeleteNormalizer(request, &empty, count);
  handler.DeleteNormalizer(request, &empty, count);
  EXPECT_EQ(answers, 0);
  store_.Permit(1'000'000);
  EXPECT_TRUE(Eventually([&] { return answers == 2; }));
}

TEST_F(CommitTest, ANormalizerDeletedAndMadeAgainIsTheNewOneInTheStore) {
  store_.Permit(1'000'000);
  Update(CreateNormalizer().get(), 1);
  ASSERT_TRUE(registry_.Delete("n", 0).ok());
  CreateNormalizer();
  Waiter waiter;
  Wait(&waiter);
  ASSERT_TRUE(Eventually([&] { return waiter.done(); }));
  committer_.reset();
  const auto contents = store_.Load();
  ASSERT_TRUE(contents.ok());
  ASSERT_EQ(contents->normalizers.size(), 1);
  EXPECT_EQ(contents->normalizers[0].state.moments.row_count(), 0);
  EXPECT_EQ(contents->normalizers[0].definition.birth_generation, 2);
  EXPECT_TRUE(contents->normalizers[0].ledgers.empty());
  EXPECT_EQ(contents->next_generation, 3);
}

}  // namespace
}  // namespace streamnorm
