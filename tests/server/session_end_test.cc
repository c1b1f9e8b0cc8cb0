// How sessions end, by their clients or by themselves, and how many ledgers
// they may have: the handlers without gRPC, on a clock that the test moves.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/committer.h"
#include "server/errors.h"
#include "server/handler.h"
#include "server/logging.h"
#include "server/registry.h"
#include "server/session_handler.h"
#include "storage/memory_store.h"

namespace streamnorm {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

constexpr seconds kTimeout{100};

struct OpenedSession {
  std::string id;
  uint64_t epoch = 0;
};

// A server's life between two starts on the same store.
class Service {
 public:
  explicit Service(StatisticsStore* store, uint64_t max_ledgers = 1000)
      : store_(store),
        sessions_({.max_sessions = 1000,
                   .max_ledgers = max_ledgers,
                   .now = [this] { return now_.load(); }}),
        registry_({1000, 100'000}, &queue_),
        committer_({}, store_, &queue_, [](const absl::Status&) {}),
        handler_({Limits(), true, history_id_, 1}, &registry_, &sessions_,
                 &queue_, &committer_),
        session_handler_(history_id_, 1, &registry_, &sessions_, &queue_,
                         &committer_) {
    const auto contents = store_->Load();
    EXPECT_TRUE(contents.ok()) << contents.status();
    registry_.Restore(*contents, &sessions_);
  }

  void Pass(seconds time) { now_ = now_.load() + time; }
  size_t Expire(size_t at_most = 1000) {
    const size_t expired =
        session_handler_.ExpireIdleSessions(kTimeout, at_most);
    WaitForDisk();  // they ended there; then their ledgers go
    return expired;
  }
  const SessionTable& sessions() const { return sessions_; }
  Registry& registry() { return registry_; }

  OpenedSession Open() {
    v1::OpenSessionResponse opened;
    EXPECT_TRUE(Call(&SessionHandler::OpenSession, {}, &opened).ok());
    return {opened.session(), opened.epoch()};
  }

  // One update of two rows; creates the normalizer.
  absl::Status Update(const OpenedSession& session, const std::string& id,
                      uint64_t sequence, bool bad = false) {
    v1::NormalizeRequest request;
    request.set_name(NormalizerName(id));
    request.set_mode(v1::UPDATE_ONLY);
    request.mutable_input()->add_shape(2);
    request.mutable_input()->add_shape(1);
    request.mutable_input()->add_values(bad ? HUGE_VAL : 1);
    request.mutable_input()->add_values(2);
    auto* update_id = request.mutable_update_id();
    update_id->set_session(session.id);
    update_id->set_epoch(session.epoch);
    update_id->set_sequence(sequence);
    update_id->set_generation(sequence == 1 ? 0 : Generation(id));
    v1::NormalizeResponse response;
    return Call(&Handler::Normalize, request, &response);
  }

  absl::Status Close(const OpenedSession& session) {
    v1::CloseSessionRequest request;
    request.set_session(session.id);
    request.set_epoch(session.epoch);
    google::protobuf::Empty closed;
    return Call(&SessionHandler::CloseSession, request, &closed);
  }

  absl::Status Resume(OpenedSession* session) {
    v1::ResumeSessionRequest request;
    request.set_session(session->id);
    v1::ResumeSessionResponse resumed;
    auto status = Call(&SessionHandler::ResumeSession, request, &resumed);
    if (status.ok()) session->epoch = resumed.epoch();
    return status;
  }

  absl::Status Barrier(const OpenedSession& session,
                       const std::vector<uint64_t>& skipped = {}) {
    v1::BarrierRequest request;
    request.set_session(session.id);
    request.set_epoch(session.epoch);
    if (!skipped.empty()) {
      auto* skip = request.add_skipped();
      skip->set_name("normalizers/a");
      skip->mutable_sequences()->Add(skipped.begin(), skipped.end());
    }
    v1::BarrierResponse response;
    return Call(&SessionHandler::Barrier, request, &response);
  }

  absl::Status Delete(const std::string& id) {
    v1::DeleteNormalizerRequest request;
    request.set_name(NormalizerName(id));
    google::protobuf::Empty deleted;
    return Call(&Handler::DeleteNormalizer, request, &deleted);
  }

  uint64_t Generation(const std::string& id) {
    v1::GetNormalizerRequest request;
    request.set_name(NormalizerName(id));
    v1::Normalizer normalizer;
    const auto s = Call(&Handler::GetNormalizer, request, &normalizer);
    return s.ok() ? normalizer.generation() : 0;
  }

  void WaitForDisk() {
    std::promise<void> durable;
    queue_.WhenDurable([&](const absl::Status&) { durable.set_value(); });
    durable.get_future().wait();
  }

  // What is on disk once everything so far is, and what follows from that.
  // REQUIRES: nobody else uses the service; the store is not thread safe.
  StoreContents Stored() {
    WaitForDisk();
    WaitForDisk();
    return *store_->Load();
  }

 private:
  template <typename Face, typename Request, typename Response>
  absl::Status Call(void (Face::*method)(const Request&, Response*,
                                         Handler::Done),
                    const Request& request, Response* response) {
    std::promise<absl::Status> answer;
    (FaceOf(method)->*method)(request, response, [&](absl::Status status) {
      answer.set_value(std::move(status));
    });
    return answer.get_future().get();
  }
  template <typename Request, typename Response>
  Handler* FaceOf(void (Handler::*)(const Request&, Response*, Handler::Done)) {
    return &handler_;
  }
  template <typename Request, typename Response>
  SessionHandler* FaceOf(void (SessionHandler::*)(const Request&, Response*,
                                                  Handler::Done)) {
    return &session_handler_;
  }

  StatisticsStore* const store_;
  const HistoryId history_id_ = NewHistoryId();
  std::atomic<steady_clock::time_point> now_{steady_clock::time_point()};
  CommitQueue queue_;
  SessionTable sessions_;
  Registry registry_;
  Committer committer_;
  Handler handler_;
  SessionHandler session_handler_;
};

// row_count = base_rows + the rows of the ledgers, each of a living session.
void ExpectConsistent(const StoreContents& contents) {
  for (const auto& [definition, state, ledgers, kept, damaged] :
       contents.normalizers) {
    uint64_t rows = state.base_rows;
    for (const LedgerRecord& ledger : ledgers) {
      rows += ledger.rows;
      EXPECT_EQ(
          std::count_if(contents.sessions.begin(), contents.sessions.end(),
                        [&](const SessionRecord& session) {
                          return session.id == ledger.session &&
                                 session.epoch != kEndedEpoch;
                        }),
          1);
    }
    EXPECT_EQ(rows, state.moments.row_count()) << definition.id;
  }
}

void ExpectUnknown(const absl::Status& status) {
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("not known"));
}

class SessionEndTest : public testing::Test {
 protected:
  SessionEndTest() { SetLogLevel("warning"); }

  const std::unique_ptr<StatisticsStore> store_ = NewMemoryStore();
};

TEST_F(SessionEndTest, AnIdleSessionEndsAndItsRowsStay) {
  Service service(store_.get());
  auto session = service.Open();
  ASSERT_TRUE(service.Update(session, "a", 1).ok());
  ASSERT_TRUE(service.Update(session, "b", 1).ok());
  service.Pass(kTimeout - seconds(1));
  EXPECT_EQ(service.Expire(), 0);
  service.Pass(seconds(1));
  EXPECT_EQ(service.Expire(), 1);
  EXPECT_EQ(service.Expire(), 0);
  EXPECT_EQ(service.sessions().size(), 0);
  EXPECT_EQ(service.sessions().ledgers(), 0);

  ExpectUnknown(service.Update(session, "a", 2));
  ExpectUnknown(service.Update(session, "c", 1));
  ExpectUnknown(service.Barrier(session));
  ExpectUnknown(service.Close(session));
  ExpectUnknown(service.Resume(&session));
  const StoreContents stored = service.Stored();
  EXPECT_TRUE(stored.sessions.empty());
  ASSERT_EQ(stored.normalizers.size(), 2) << "a refused update creates none";
  for (const auto& [definition, state, ledgers, kept, damaged] :
       stored.normalizers) {
    EXPECT_TRUE(ledgers.empty());
    EXPECT_EQ(state.base_rows, 2);
    EXPECT_EQ(state.moments.row_count(), 2);
  }
}

TEST_F(SessionEndTest, EveryUseBeginsTheIdleTimeAnew) {
  Service service(store_.get());
  auto session = service.Open();
  const std::vector<std::function<absl::Status()>> uses = {
      [&] { return service.Update(session, "a", 1); },
      [&] { return service.Update(session, "a", 1); },  // a duplicate
      [&] { return service.Barrier(session); },
      [&] { return service.Resume(&session); },
  };
  for (const auto& use : uses) {
    service.Pass(kTimeout - seconds(1));
    ASSERT_TRUE(use().ok());
    service.Pass(kTimeout - seconds(1));
    ASSERT_EQ(service.Expire(), 0);
  }
  service.Pass(seconds(1));
  EXPECT_EQ(service.Expire(), 1);
}

TEST_F(SessionEndTest, AZombieDoesNotKeepASessionAlive) {
  Service service(store_.get());
  auto session = service.Open();
  const auto zombie = session;
  ASSERT_TRUE(service.Resume(&session).ok());
  service.Pass(kTimeout);
  EXPECT_TRUE(absl::IsAborted(service.Update(zombie, "a", 1)));
  EXPECT_EQ(service.Expire(), 1);
}

TEST_F(SessionEndTest, TimeWithoutAServerDoesNotCount) {
  OpenedSession session;
  {
    Service service(store_.get());
    session = service.Open();
    ASSERT_TRUE(service.Update(session, "a", 1).ok());
    service.Pass(kTimeout - seconds(1));
    service.Stored();
  }
  Service service(store_.get());
  service.Pass(kTimeout - seconds(1));
  EXPECT_EQ(service.Expire(), 0);
  service.Pass(seconds(1));
  EXPECT_EQ(service.Expire(), 1);
  ExpectConsistent(service.Stored());
}

TEST_F(SessionEndTest, AsManyEndAtATimeAsAskedFor) {
  Service service(store_.get());
  for (int i = 0; i < 7; ++i) service.Open();
  service.Pass(kTimeout);
  service.Open();
  EXPECT_EQ(service.Expire(4), 4);
  EXPECT_EQ(service.Expire(4), 3);
  EXPECT_EQ(service.sessions().size(), 1);
}

TEST_F(SessionEndTest, ASessionEndedBesideADamagedNormalizerNeverComesBack) {
  OpenedSession closed, expired;
  StoreContents contents;
  {
    Service service(store_.get());
    closed = service.Open();
    ASSERT_TRUE(service.Update(closed, "a", 1).ok());
    contents = service.Stored();
  }
  // As a store with a damaged record shows itself.
  contents.quarantined.push_back({"damaged", "ledger: checksum"});
  CommitQueue queue;
  SessionTable sessions({.max_sessions = 10});
  Registry registry({10, 10}, &queue);
  registry.Restore(contents, &sessions);
  Committer committer({}, store_.get(), &queue, [](const absl::Status&) {});
  SessionHandler handler({}, 2, &registry, &sessions, &queue, &committer);
  v1::CloseSessionRequest request;
  request.set_session(closed.id);
  request.set_epoch(closed.epoch);
  google::protobuf::Empty response;
  std::promise<absl::Status> answer;
  handler.CloseSession(request, &response,
                       [&](absl::Status s) { answer.set_value(std::move(s)); });
  ASSERT_TRUE(answer.get_future().get().ok());
  contents = *store_->Load();
  ASSERT_EQ(contents.sessions.size(), 1) << "the damaged one may need it";
  EXPECT_EQ(contents.sessions[0].epoch, kEndedEpoch);

  // Repaired, the once damaged one has a ledger of it.
  CommitBatch repaired;
  repaired.definitions.push_back(contents.normalizers[0].definition);
  repaired.definitions[0].id = "damaged";
  repaired.states.push_back(contents.normalizers[0].state);
  repaired.states[0].id = "damaged";
  repaired.states[0].base_rows = 0;
  repaired.ledgers.push_back(
      {"damaged", contents.sessions[0].id, 1, {}, /*rows=*/2});
  ASSERT_TRUE(store_->Write(repaired).ok());
  Service service(store_.get());
  ExpectUnknown(service.Resume(&closed));
  ExpectUnknown(service.Update(closed, "a", 2));
  const StoreContents stored = service.Stored();
  EXPECT_TRUE(stored.sessions.empty());
  ASSERT_EQ(stored.normalizers.size(), 2);
  for (const auto& [definition, state, ledgers, kept, damaged] :
       stored.normalizers) {
    EXPECT_TRUE(ledgers.empty()) << definition.id;
    EXPECT_EQ(state.base_rows, 2) << definition.id;
  }
}

// A crash between the end of a session and that of its ledgers. A job that
// resumed it and sent its steps again would be counted twice.
TEST_F(SessionEndTest, ACrashInTheMiddleOfAnEndDoesNotBringTheSessionBack) {
  OpenedSession session;
  StoreContents contents;
  {
    Service service(store_.get());
    session = service.Open();
    ASSERT_TRUE(service.Update(session, "a", 1).ok());
    contents = service.Stored();
  }
  CommitBatch ended;
  ended.sessions = contents.sessions;
  ended.sessions[0].epoch = kEndedEpoch;
  ASSERT_TRUE(store_->Write(ended).ok());
  Service service(store_.get());
  ExpectUnknown(service.Resume(&session));
  ExpectUnknown(service.Update(session, "a", 1));
  const StoreContents stored = service.Stored();
  EXPECT_TRUE(stored.sessions.empty());
  ASSERT_EQ(stored.normalizers.size(), 1);
  EXPECT_TRUE(stored.normalizers[0].ledgers.empty());
  EXPECT_EQ(stored.normalizers[0].state.base_rows, 2);
}

// Sessions expire, are closed, resumed and used at the same time: whatever
// comes first, a row that was told counted is counted once, and at the end no
// ledger is without its session.
TEST_F(SessionEndTest, EndingRacesWithEveryUse) {
  Service service(store_.get());
  std::atomic<uint64_t> counted{0};
  std::atomic<bool> stop{false};
  std::thread reaper([&] {
    while (!stop) {
      service.Pass(kTimeout);
      service.Expire();
    }
  });
  std::vector<std::thread> users;
  users.reserve(4);
  for (int user = 0; user < 4; ++user) {
    users.emplace_back([&, user] {
      for (int round = 0; round < 200; ++round) {
        auto session = service.Open();
        absl::Status status;
        for (uint64_t sequence = 1; sequence <= 5 && status.ok(); ++sequence) {
          status = service.Update(session, "raced", sequence);
          if (status.ok()) counted += 2;
          if (status.ok() && user % 2 == 0) status = service.Resume(&session);
        }
        if (status.ok()) status = service.Close(session);
        EXPECT_TRUE(status.ok() || absl::IsFailedPrecondition(status))
            << status;
      }
    });
  }
  for (auto& user : users) user.join();
  stop = true;
  reaper.join();
  service.Pass(kTimeout);
  service.Expire();
  EXPECT_EQ(service.sessions().ledgers(), 0);
  const StoreContents stored = service.Stored();
  EXPECT_TRUE(stored.sessions.empty());
  ExpectConsistent(stored);
  ASSERT_EQ(stored.normalizers.size(), 1);
  EXPECT_EQ(stored.normalizers[0].state.moments.row_count(), counted);
  EXPECT_TRUE(stored.normalizers[0].ledgers.empty());
}

// Quotas.

TEST_F(SessionEndTest, NoMoreLedgersThanTheLimitAndARefusalChangesNothing) {
  Service service(store_.get(), /*max_ledgers=*/2);
  const auto first = service.Open(), second = service.Open();
  ASSERT_TRUE(service.Update(first, "a", 1).ok());
  ASSERT_TRUE(service.Update(second, "a", 1).ok());
  ASSERT_TRUE(service.Update(first, "a", 2).ok()) << "it has its ledger";
  const absl::Status full = service.Update(first, "b", 1);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(std::string(full.message()), HasSubstr("--max_ledgers"));
  EXPECT_FALSE(service.registry().Find("b").ok()) << "not created either";
  EXPECT_EQ(service.sessions().ledgers(), 2);
  ASSERT_TRUE(service.Close(second).ok());
  EXPECT_EQ(service.sessions().ledgers(), 1);
  EXPECT_TRUE(service.Update(first, "b", 1).ok());
  ExpectConsistent(service.Stored());
}

TEST_F(SessionEndTest, LedgersAreFreedWithTheirNormalizer) {
  Service service(store_.get(), /*max_ledgers=*/1);
  const auto session = service.Open();
  for (int i = 0; i < 5; ++i) {
    const std::string id = absl::StrCat("n", i);
    ASSERT_TRUE(service.Update(session, id, 1).ok());
    ASSERT_TRUE(service.Update(session, id, 2).ok());
    ASSERT_TRUE(service.Delete(id).ok());
    ASSERT_EQ(service.sessions().ledgers(), 0);
  }
}

TEST_F(SessionEndTest, ARefusedUpdateTakesNoLedger) {
  Service service(store_.get(), /*max_ledgers=*/1);
  const auto session = service.Open();
  EXPECT_FALSE(service.Update(session, "a", 1, /*bad=*/true).ok());
  EXPECT_EQ(service.sessions().ledgers(), 0);
  ASSERT_TRUE(service.Update(session, "a", 1).ok());
  EXPECT_FALSE(service.Update(session, "a", 2, /*bad=*/true).ok());
  EXPECT_EQ(service.sessions().ledgers(), 1);
}

TEST_F(SessionEndTest, RestoredLedgersCountAndNeverFailAStart) {
  OpenedSession session;
  {
    Service service(store_.get());
    session = service.Open();
    for (const char* id : {"a", "b", "c"}) {
      ASSERT_TRUE(service.Update(session, id, 1).ok());
    }
    service.Stored();
  }
  Service service(store_.get(), /*max_ledgers=*/1);
  EXPECT_EQ(service.sessions().ledgers(), 3);
  EXPECT_TRUE(service.Update(session, "a", 2).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(service.Update(session, "d", 1)));
  ASSERT_TRUE(service.Close(session).ok());
  EXPECT_EQ(service.sessions().ledgers(), 0);
  EXPECT_TRUE(service.Update(service.Open(), "d", 1).ok());
}

TEST_F(SessionEndTest, ABarrierSkipsNoMoreThanAWindow) {
  Service service(store_.get());
  const auto session = service.Open();
  ASSERT_TRUE(service.Update(session, "a", 1).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(
      service.Barrier(session, std::vector<uint64_t>(1025, 2))));
  EXPECT_TRUE(service.Barrier(session, std::vector<uint64_t>(1024, 2)).ok());
}

}  // namespace
}  // namespace streamnorm
