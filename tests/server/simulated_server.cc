#include "tests/server/simulated_server.h"

#include <gtest/gtest.h>

#include "storage/memory_store.h"

namespace streamnorm {

LossyStore::LossyStore() : synced_(NewMemoryStore()) {}

absl::StatusOr<StoreContents> LossyStore::Load() {
  auto contents = synced_->Load();
  if (contents.ok()) contents->incarnation = ++incarnation_;
  return contents;
}

absl::Status LossyStore::Write(const CommitBatch& batch) {
  if (IsDead()) return absl::AbortedError("dead");
  unsynced_.push_back(batch);
  return absl::OkStatus();
}

absl::Status LossyStore::Sync() {
  if (IsDead()) return absl::AbortedError("dead");
  Keep(unsynced_.size());
  return absl::OkStatus();
}

absl::StatusOr<BackupSummary> LossyStore::Backup(const BackupOptions&,
                                                 const OnStoreProgress&) const {
  return absl::UnimplementedError("backup");
}

absl::StatusOr<VerifyReport> LossyStore::Verify(const OnStoreProgress&) const {
  return absl::UnimplementedError("verify");
}

void LossyStore::LosePower(SimRandom* random) {
  calls_left_ = -1;
  Keep((*random)() % (unsynced_.size() + 1));
  unsynced_.clear();
}

bool LossyStore::IsDead() {
  if (calls_left_ > 0) --calls_left_;
  return dead();
}

void LossyStore::Keep(size_t batches) {
  for (size_t i = 0; i < batches; ++i) {
    ASSERT_TRUE(synced_->Write(unsynced_[i]).ok());
  }
  unsynced_.erase(unsynced_.begin(),
                  unsynced_.begin() + static_cast<ptrdiff_t>(batches));
}

Life::Life(StatisticsStore* store)
    : contents_(*store->Load()),
      sessions_({.max_sessions = 100, .max_ledgers = 1000}),
      registry_({100, 10'000}, &queue_),
      committer_({.by_hand = true}, store, &queue_, [](const absl::Status&) {}),
      handler_({Limits(), false, contents_.history_id, contents_.incarnation},
               &registry_, &sessions_, &queue_, &committer_),
      session_handler_(contents_.history_id, contents_.incarnation, &registry_,
                       &sessions_, &queue_, &committer_),
      snapshot_handler_(Limits().max_message_bytes, &registry_, &queue_,
                        &committer_) {
  EXPECT_TRUE(contents_.quarantined.empty())
      << "a normalizer and its sessions contradict each other";
  registry_.Restore(contents_, &sessions_);
}

template <typename M>
bool SimNetwork::Take(bool faults, std::deque<M>* messages, M* taken) {
  if (messages->empty()) return false;
  const size_t at = faults ? (*random_)() % messages->size() : 0;
  const auto fate = faults ? (*random_)() % 10 : 9;
  const bool twice = fate == 0;
  const bool never = fate == 1;
  *taken = twice ? (*messages)[at] : std::move((*messages)[at]);
  if (!twice) messages->erase(messages->begin() + static_cast<ptrdiff_t>(at));
  return !never;
}

void SimNetwork::DeliverToServer(bool faults, Life* life) {
  std::function<void(Life*)> message;
  if (Take(faults, &to_server_, &message)) message(life);
}

void SimNetwork::DeliverToClient(bool faults) {
  std::function<void()> answer;
  if (Take(faults, &to_client_, &answer)) answer();
}

void SimNetwork::Drain(Life* life) {
  while (!to_server_.empty()) DeliverToServer(/*faults=*/false, life);
}

}  // namespace streamnorm
