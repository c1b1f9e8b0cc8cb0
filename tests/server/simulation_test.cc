// Clients, a network that drops, repeats and reorders, and a server that
// crashes and loses what it had not synced: all in one thread, every step
// chosen by a seed, so that what goes wrong goes wrong again.
//
// The clients follow docs/durability.md and know nothing else; the server is
// everything but gRPC and RocksDB.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/committer.h"
#include "server/errors.h"
#include "server/handler.h"
#include "server/logging.h"
#include "server/registry.h"
#include "server/session_handler.h"
#include "storage/memory_store.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

using Random = std::minstd_rand;

// Keeps what was written and not synced apart, to lose some of it.
class LossyStore : public StatisticsStore {
 public:
  std::string_view kind() const override { return "lossy"; }
  absl::StatusOr<StoreContents> Load() override {
    auto contents = synced_->Load();
    if (contents.ok()) contents->incarnation = ++incarnation_;
    return contents;
  }
  absl::Status Write(const CommitBatch& batch) override {
    if (IsDead()) return absl::AbortedError("dead");
    unsynced_.push_back(batch);
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    if (IsDead()) return absl::AbortedError("dead");
    Keep(unsynced_.size());
    return absl::OkStatus();
  }
  absl::StatusOr<uint64_t> FreeBytes() const override { return 1 << 30; }
  absl::StatusOr<BackupSummary> Backup(const BackupOptions&,
                                       const OnStoreProgress&) const override {
    return absl::UnimplementedError("backup");
  }
  absl::StatusOr<VerifyReport> Verify(const OnStoreProgress&) const override {
    return absl::UnimplementedError("verify");
  }

  StoreContents Synced() { return *synced_->Load(); }

  // The process dies after so many further calls.
  void DieIn(int calls) { calls_left_ = calls; }
  bool dead() const { return calls_left_ == 0; }

  // The power goes: a prefix of what was written is there.
  void LosePower(Random* random) {
    calls_left_ = -1;
    Keep((*random)() % (unsynced_.size() + 1));
    unsynced_.clear();
  }

 private:
  bool IsDead() {
    if (calls_left_ > 0) --calls_left_;
    return dead();
  }

  void Keep(size_t batches) {
    for (size_t i = 0; i < batches; ++i) {
      ASSERT_TRUE(synced_->Write(unsynced_[i]).ok());
    }
    unsynced_.erase(unsynced_.begin(),
                    unsynced_.begin() + static_cast<ptrdiff_t>(batches));
  }

  const std::unique_ptr<StatisticsStore> synced_ = NewMemoryStore();
  std::vector<CommitBatch> unsynced_;
  uint64_t incarnation_ = 0;
  int calls_left_ = -1;  // -1: lives on
};

// One life of the server.
class Life {
 public:
  explicit Life(StatisticsStore* store)
      : contents_(*store->Load()),
        sessions_({.max_sessions = 100, .max_ledgers = 1000}),
        registry_({100, 10'000}, &queue_),
        committer_({.by_hand = true}, store, &queue_,
                   [](const absl::Status&) {}),
        handler_({Limits(), false, contents_.history_id, contents_.incarnation},
                 &registry_, &sessions_, &queue_, &committer_),
        session_handler_(contents_.history_id, contents_.incarnation,
                         &registry_, &sessions_, &queue_, &committer_) {
    EXPECT_TRUE(contents_.quarantined.empty())
        << "a normalizer and its sessions contradict each other";
    registry_.Restore(contents_, &sessions_);
  }

  Handler& handler() { return handler_; }
  SessionHandler& session_handler() { return session_handler_; }
  void Commit() { committer_.CommitNow(); }

 private:
  const StoreContents contents_;
  CommitQueue queue_;
  SessionTable sessions_;
  Registry registry_;
  Committer committer_;
  Handler handler_;
  SessionHandler session_handler_;
};

constexpr int kNormalizers = 2;
std::string NameOf(int normalizer) {
  return absl::StrCat("normalizers/n", normalizer);
}

class World;

// A client of the protocol. Its messages are closures that the network carries.
class SimClient {
 public:
  SimClient(World* world, int updates) : world_(world), to_make_(updates) {}

  void Step(Random* random);
  bool done() const;
  // All it made for a normalizer.
  struct Made {
    uint64_t rows = 0;
    double sum = 0;  // of integers: exact
  };
  Made made(int normalizer) const {
    const auto it = made_.find(normalizer);
    return it == made_.end() ? Made() : it->second;
  }
  // What it was told is on disk, by normalizer.
  uint64_t told(int normalizer) const {
    const auto it = tracks_.find(normalizer);
    return it == tracks_.end() ? 0 : it->second.durable;
  }
  const std::string& session() const { return session_; }

 private:
  struct Track {
    uint64_t next = 1;
    uint64_t durable = 0;
    std::map<uint64_t, uint64_t> kept;  // sequence -> rows
  };

  void Open();
  void Resume();
  void Send(int normalizer, uint64_t sequence);
  void Resumed(const absl::Status& status,
               const v1::ResumeSessionResponse& response);
  void Answered(int normalizer, uint64_t sequence, const absl::Status& status,
                const v1::NormalizeResponse& response);
  void ToldDurable(int normalizer, uint64_t sequence);

  World* const world_;
  int to_make_;
  std::string session_;
  uint64_t epoch_ = 0;
  bool resuming_ = false;
  std::map<int, Track> tracks_;
  std::map<int, Made> made_;
};

class World {
 public:
  explicit World(unsigned seed) : random_(seed) {
    StartLife();
    for (int i = 0; i < kNormalizers; ++i) {
      v1::CreateNormalizerRequest request;
      request.set_normalizer_id(absl::StrCat("n", i));
      request.mutable_normalizer()->set_features(1);
      auto created = std::make_shared<v1::Normalizer>();
      life_->handler().CreateNormalizer(
          request, created.get(),
          [created](const absl::Status& s) { ASSERT_TRUE(s.ok()) << s; });
    }
    life_->Commit();
    for (int i = 0; i < 3; ++i) clients_.emplace_back(this, 8);
  }

  void Run() {
    int steps = 0;
    while (!std::all_of(clients_.begin(), clients_.end(),
                        [](const auto& client) { return client.done(); })) {
      ASSERT_LT(++steps, 100'000) << "no progress";
      // The faults end some day.
      Step(/*faults=*/steps < 1500);
      if (testing::Test::HasFailure()) return;
    }
    Check();
  }

  // Carries `message` to the server, perhaps late, twice or never. It is given
  // the life it arrives in.
  using Message = std::function<void(Life*)>;
  void ToServer(Message message) { to_server_.push_back(std::move(message)); }

  // The same for an answer.
  void ToClient(std::function<void()> answer) {
    to_client_.push_back(std::move(answer));
  }

 private:
  void StartLife() {
    life_.reset();
    life_ = std::make_unique<Life>(&store_);
  }

  void Step(bool faults) {
    switch (random_() % 12) {
      case 0:
      case 1:
      case 2:
        return clients_[random_() % clients_.size()].Step(&random_);
      case 3:
        return Commit(faults);
      case 4:
        if (faults && random_() % 20 == 0) Crash();
        return;
      case 5:
      case 6:
      case 7:
      case 8:
        return Deliver(faults, &to_server_,
                       [this](const Message& m) { m(life_.get()); });
      default:
        return Deliver(faults, &to_client_, [](const auto& a) { a(); });
    }
  }

  template <typename M, typename Take>
  void Deliver(bool faults, std::deque<M>* messages, const Take& take) {
    if (messages->empty()) return;
    const size_t at = faults ? random_() % messages->size() : 0;
    const M message = (*messages)[at];
    const auto fate = faults ? random_() % 10 : 9;
    if (fate != 0) messages->erase(messages->begin() + ptrdiff_t(at));  // twice
    if (fate == 1) return;                                              // never
    take(message);
  }

  // Perhaps the server dies in the middle of it: then nobody is answered.
  void Commit(bool faults) {
    const size_t answers = to_client_.size();
    if (faults && random_() % 12 == 0) {
      store_.DieIn(1 + static_cast<int>(random_() % 3));
    }
    life_->Commit();
    if (!store_.dead()) return store_.DieIn(-1);
    to_client_.resize(answers);
    Crash();
  }

  // What is on its way arrives in the next life; what waited for a commit is
  // never answered.
  void Crash() {
    store_.LosePower(&random_);
    StartLife();
    CheckPromises();
  }

  void CheckPromises();
  void Check();

  Random random_;
  LossyStore store_;
  std::unique_ptr<Life> life_;
  std::vector<SimClient> clients_;
  std::deque<Message> to_server_;
  std::deque<std::function<void()>> to_client_;
};

// Everything that was told to be on disk is in the store that is left.
void World::CheckPromises() {
  const auto contents = store_.Synced();
  for (const SimClient& client : clients_) {
    for (int n = 0; n < kNormalizers; ++n) {
      if (client.told(n) == 0) continue;
      uint64_t applied = 0;
      for (const auto& normalizer : contents.normalizers) {
        if (NormalizerName(normalizer.definition.id) != NameOf(n)) continue;
        for (const LedgerRecord& ledger : normalizer.ledgers) {
          const bool its =
              client.session() == std::string(ledger.session.bytes.begin(),
                                              ledger.session.bytes.end());
          if (its) applied = ledger.applied_sequence;
        }
      }
      EXPECT_GE(applied, client.told(n)) << "told durable and lost";
    }
  }
}

void World::Check() {
  life_->Commit();
  CheckPromises();
  const auto contents = store_.Synced();
  for (const auto& normalizer : contents.normalizers) {
    SimClient::Made made;
    for (int n = 0; n < kNormalizers; ++n) {
      if (NameOf(n) != NormalizerName(normalizer.definition.id)) continue;
      for (const SimClient& client : clients_) {
        made.rows += client.made(n).rows;
        made.sum += client.made(n).sum;
      }
    }
    const Moments& moments = normalizer.state.moments;
    EXPECT_EQ(moments.row_count(), made.rows)
        << (moments.row_count() < made.rows ? "lost" : "counted twice");
    EXPECT_NEAR(moments.mean()[0] * static_cast<double>(made.rows), made.sum,
                1e-12 * made.sum);
  }
}

bool SimClient::done() const {
  return to_make_ == 0 &&
         std::all_of(tracks_.begin(), tracks_.end(), [](const auto& track) {
           return track.second.kept.empty();
         });
}

// A client that waits does not know for what: it may always lose patience.
void SimClient::Step(Random* random) {
  if (done()) return;
  if (session_.empty()) return Open();
  if (resuming_ || (*random)() % 30 == 0) {
    if (!resuming_ || (*random)() % 30 == 0) Resume();
    return;
  }
  if ((*random)() % 3 == 0 && to_make_ > 0) {
    const int n = static_cast<int>((*random)() % kNormalizers);
    Track& track = tracks_[n];
    const uint64_t sequence = track.next++;
    --to_make_;
    track.kept[sequence] = 1 + (*random)() % 3;
    const uint64_t rows = track.kept[sequence];
    made_[n].rows += rows;
    for (uint64_t r = 0; r < rows; ++r) {
      made_[n].sum += static_cast<double>(sequence + r);
    }
    return Send(n, sequence);
  }
  // Again, whatever became of it.
  if ((*random)() % 8 != 0) return;
  for (auto& [n, track] : tracks_) {
    if (track.kept.empty() || (*random)() % 2 == 0) continue;
    auto it = track.kept.begin();
    std::advance(it, (*random)() % track.kept.size());
    return Send(n, it->first);
  }
}

void SimClient::Open() {
  world_->ToServer([this](Life* life) {
    auto response = std::make_shared<v1::OpenSessionResponse>();
    life->session_handler().OpenSession(
        {}, response.get(), [this, response](const absl::Status& status) {
          world_->ToClient([this, response, status] {
            ASSERT_TRUE(status.ok()) << status;
            if (!session_.empty()) return;  // an earlier one came
            session_ = response->session();
            epoch_ = response->epoch();
          });
        });
  });
}

void SimClient::Send(int normalizer, uint64_t sequence) {
  v1::NormalizeRequest request;
  request.set_name(NameOf(normalizer));
  request.set_mode(v1::UPDATE_ONLY);
  const uint64_t rows = tracks_[normalizer].kept.at(sequence);
  request.mutable_input()->add_shape(static_cast<int64_t>(rows));
  request.mutable_input()->add_shape(1);
  for (uint64_t r = 0; r < rows; ++r) {
    request.mutable_input()->add_values(static_cast<double>(sequence + r));
  }
  request.set_wait_durable(sequence % 5 == 0);
  auto* id = request.mutable_update_id();
  id->set_session(session_);
  id->set_epoch(epoch_);
  id->set_sequence(sequence);
  id->set_generation(static_cast<uint64_t>(normalizer) + 1);
  world_->ToServer([this, request, normalizer, sequence](Life* life) {
    auto response = std::make_shared<v1::NormalizeResponse>();
    life->handler().Normalize(
        request, response.get(), [=, this](const absl::Status& status) {
          world_->ToClient(
              [=, this] { Answered(normalizer, sequence, status, *response); });
        });
  });
}

void SimClient::Answered(int normalizer, uint64_t sequence,
                         const absl::Status& status,
                         const v1::NormalizeResponse& response) {
  if (status.ok()) return ToldDurable(normalizer, response.durable_sequence());
  // Of an epoch that ended, or of numbers too far ahead of what a crash left.
  EXPECT_TRUE(absl::IsAborted(status)) << sequence << ": " << status;
  if (!resuming_) Resume();
}

void SimClient::ToldDurable(int normalizer, uint64_t sequence) {
  Track& track = tracks_[normalizer];
  EXPECT_LT(sequence, track.next) << "never sent";
  track.durable =
      std::max(track.durable, sequence);  // answers come in any order
  track.kept.erase(track.kept.begin(), track.kept.upper_bound(sequence));
}

void SimClient::Resume() {
  resuming_ = true;
  v1::ResumeSessionRequest request;
  request.set_session(session_);
  world_->ToServer([this, request](Life* life) {
    auto response = std::make_shared<v1::ResumeSessionResponse>();
    life->session_handler().ResumeSession(
        request, response.get(), [=, this](const absl::Status& status) {
          world_->ToClient([=, this] { Resumed(status, *response); });
        });
  });
}

void SimClient::Resumed(const absl::Status& status,
                        const v1::ResumeSessionResponse& response) {
  ASSERT_TRUE(status.ok()) << status;
  if (response.epoch() <= epoch_) return;  // an old answer
  epoch_ = response.epoch();
  resuming_ = false;
  for (const auto& progress : response.progress()) {
    for (int n = 0; n < kNormalizers; ++n) {
      if (progress.name() == NameOf(n)) {
        ToldDurable(n, progress.durable_sequence());
      }
    }
  }
  for (const auto& [n, track] : tracks_) {
    for (const auto& [sequence, rows] : track.kept) Send(n, sequence);
  }
}

TEST(SimulationTest, EverySeedEndsWithEachRowCountedOnce) {
  SetLogLevel("critical");  // many servers are going to die
  unsigned first = 1;
  auto count = static_cast<unsigned>(Repetitions(
      std::getenv("STREAMNORM_LONG") != nullptr ? 1'000'000 : 20'000));
  if (const char* seed = std::getenv("STREAMNORM_SEED")) {
    first = static_cast<unsigned>(std::atoi(seed));
    count = 1;
  }
  for (unsigned seed = first; seed < first + count; ++seed) {
    World(seed).Run();
    ASSERT_FALSE(HasFailure()) << "STREAMNORM_SEED=" << seed;
    if (seed % 100'000 == 0) std::printf("%u seeds\n", seed);
  }
  std::printf("%u seeds\n", count);
}

}  // namespace
}  // namespace streamnorm
