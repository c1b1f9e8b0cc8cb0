#ifndef STREAMNORM_TESTS_SERVER_SIMULATED_SERVER_H_
#define STREAMNORM_TESTS_SERVER_SIMULATED_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "server/commit_queue.h"
#include "server/committer.h"
#include "server/handler.h"
#include "server/registry.h"
#include "server/session_handler.h"
#include "server/sessions.h"
#include "server/snapshot_handler.h"
#include "storage/statistics_store.h"

namespace streamnorm {

using SimRandom = std::minstd_rand;

// Keeps what was written and not synced apart, to lose some of it.
class LossyStore : public StatisticsStore {
 public:
  LossyStore();

  std::string_view kind() const override { return "lossy"; }
  absl::StatusOr<StoreContents> Load() override;
  absl::Status Write(const CommitBatch& batch) override;
  absl::Status Sync() override;
  absl::StatusOr<uint64_t> SizeBytes() const override { return 0; }
  absl::StatusOr<uint64_t> FreeBytes() const override { return 1 << 30; }
  absl::StatusOr<BackupSummary> Backup(const BackupOptions&,
                                       const OnStoreProgress&) const override;
  absl::StatusOr<VerifyReport> Verify(const OnStoreProgress&) const override;

  StoreContents Synced() const { return *synced_->Load(); }

  // The process dies after so many further calls; -1: it lives on.
  void DieIn(int calls) { calls_left_ = calls; }
  bool dead() const { return calls_left_ == 0; }

  // The power goes: a prefix of what was written is there.
  void LosePower(SimRandom* random);

 private:
  bool IsDead();
  void Keep(size_t batches);

  const std::unique_ptr<StatisticsStore> synced_;
  std::vector<CommitBatch> unsynced_;
  uint64_t incarnation_ = 0;
  int calls_left_ = -1;
};

// One life of the server: everything but gRPC and RocksDB.
class Life {
 public:
  explicit Life(StatisticsStore* store);

  // Handler, SessionHandler or SnapshotHandler.
  template <typename H>
  H& Get() {
    if constexpr (std::is_same_v<H, Handler>) {
      return handler_;
    } else if constexpr (std::is_same_v<H, SnapshotHandler>) {
      return snapshot_handler_;
    } else {
      return session_handler_;
    }
  }
  void Commit() { committer_.CommitNow(); }

 private:
  const StoreContents contents_;
  CommitQueue queue_;
  SessionTable sessions_;
  Registry registry_;
  Committer committer_;
  Handler handler_;
  SessionHandler session_handler_;
  SnapshotHandler snapshot_handler_;
};

// Carries calls to whatever life they arrive in, and answers back: late, twice,
// in any order or never.
class SimNetwork {
 public:
  explicit SimNetwork(SimRandom* random) : random_(random) {}

  // Calls `method` of the server with `request`; `answered` gets status and
  // response, as often as an answer arrives.
  template <typename H, typename Request, typename Response, typename Answered>
  void Call(void (H::*method)(const Request&, Response*, typename H::Done),
            Request request, Answered answered) {
    auto sent = std::make_shared<const Request>(std::move(request));
    to_server_.push_back([this, method, sent, answered](Life* life) {
      auto response = std::make_shared<Response>();
      const auto done = [this, response, answered](const absl::Status& status) {
        to_client_.push_back([=] { answered(status, *response); });
      };
      (life->Get<H>().*method)(*sent, response.get(), done);
    });
  }

  // Without faults nothing is lost, repeated or reordered.
  void DeliverToServer(bool faults, Life* life);
  void DeliverToClient(bool faults);

  // All that is still on its way to the server.
  void Drain(Life* life);

  // A server that dies takes back the answers it gave since there were so many.
  size_t answers() const { return to_client_.size(); }
  void Forget(size_t answers) { to_client_.resize(answers); }

 private:
  template <typename M>
  bool Take(bool faults, std::deque<M>* messages, M* taken);

  SimRandom* const random_;
  std::deque<std::function<void(Life*)>> to_server_;
  std::deque<std::function<void()>> to_client_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_SERVER_SIMULATED_SERVER_H_
