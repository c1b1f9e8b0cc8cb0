// Everything the service does but gRPC, by many threads at once: who resets or
// deletes a normalizer while others write to it loses and doubles nothing. Made
// for ThreadSanitizer, which can't look through Debian's gRPC.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <future>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/committer.h"
#include "server/handler.h"
#include "server/registry.h"
#include "server/session_handler.h"
#include "storage/memory_store.h"

namespace streamnorm {
namespace {

constexpr char kName[] = "normalizers/raced";

// The service without a transport. Each call returns when it is answered.
class Service {
 public:
  Service()
      : registry_({1000, 100'000}, &queue_),
        committer_({}, store_.get(), &queue_, [](const absl::Status&) {}),
        handler_({Limits(), false, NewHistoryId(), 1}, &registry_, &sessions_,
                 &queue_, &committer_),
        session_handler_(NewHistoryId(), 1, &registry_, &sessions_, &queue_,
                         &committer_) {}

  template <typename Request, typename Response>
  absl::Status Call(void (Handler::*method)(const Request&, Response*,
                                            Handler::Done),
                    const Request& request, Response* response) {
    return Wait(&handler_, method, request, response);
  }
  template <typename Request, typename Response>
  absl::Status Call(void (SessionHandler::*method)(const Request&, Response*,
                                                   Handler::Done),
                    const Request& request, Response* response) {
    return Wait(&session_handler_, method, request, response);
  }

  absl::StatusOr<StoreContents> Stored() {
    std::promise<void> durable;
    queue_.WhenDurable([&](const absl::Status&) { durable.set_value(); });
    durable.get_future().wait();
    return store_->Load();
  }

  absl::Status Create() {
    v1::CreateNormalizerRequest request;
    request.set_normalizer_id("raced");
    request.mutable_normalizer()->set_features(1);
    v1::Normalizer created;
    return Call(&Handler::CreateNormalizer, request, &created);
  }

 private:
  template <typename Face, typename Method, typename Request, typename Response>
  static absl::Status Wait(Face* face, Method method, const Request& request,
                           Response* response) {
    std::promise<absl::Status> answer;
    (face->*method)(request, response, [&](absl::Status status) {
      answer.set_value(std::move(status));
    });
    return answer.get_future().get();
  }

  const std::unique_ptr<StatisticsStore> store_ = NewMemoryStore();
  CommitQueue queue_;
  SessionTable sessions_{{.max_sessions = 1000}};
  Registry registry_;
  Committer committer_;
  Handler handler_;
  SessionHandler session_handler_;
};

std::string Bytes(const std::vector<double>& values) {
  return {reinterpret_cast<const char*>(values.data()),
          values.size() * sizeof(double)};
}

// Numbers its updates, sends some twice, and notes what it was told counted.
class Writer {
 public:
  Writer(Service* service, unsigned seed) : service_(service), random_(seed) {
    v1::OpenSessionResponse opened;
    EXPECT_TRUE(service_->Call(&SessionHandler::OpenSession, {}, &opened).ok());
    session_ = opened.session();
    epoch_ = opened.epoch();
  }

  // One update of one to three rows; false if there was no normalizer.
  bool Update() {
    if (generation_ == 0 && !LearnGeneration()) return false;
    const std::vector<double> rows(1 + random_() % 3, double(random_() % 100));
    v1::NormalizeRequest request;
    request.set_name(kName);
    request.set_mode(random_() % 2 == 0 ? v1::UPDATE_ONLY
                                        : v1::NORMALIZE_THEN_UPDATE);
    request.mutable_input()->set_datatype(v1::FP64);
    request.mutable_input()->add_shape(static_cast<int64_t>(rows.size()));
    request.mutable_input()->add_shape(1);
    request.mutable_input()->set_data(Bytes(rows));
    request.set_wait_durable(random_() % 64 == 0);
    auto* id = request.mutable_update_id();
    id->set_session(session_);
    id->set_epoch(epoch_);
    id->set_sequence(++sequence_);
    id->set_generation(generation_);

    v1::NormalizeResponse response;
    const auto status = service_->Call(&Handler::Normalize, request, &response);
    if (!status.ok()) {
      EXPECT_TRUE(absl::IsNotFound(status) ||
                  absl::IsFailedPrecondition(status) || absl::IsAborted(status))
          << status;
      generation_ = 0;  // deleted, or its successor is there
      return false;
    }
    EXPECT_FALSE(response.duplicate());
    if (response.counted_rows() != 0) {
      EXPECT_EQ(response.counted_rows(), rows.size());
      Counted& counted = counted_[response.generation()];
      counted.rows += rows.size();
      for (const double x : rows) counted.sum += x;
    }
    const bool moved_on = response.generation() != generation_;
    if (random_() % 4 == 0) {
      v1::NormalizeResponse again;
      const auto retried = service_->Call(&Handler::Normalize, request, &again);
      // Its normalizer may be gone, or another one be there, that knows
      // nothing of it. Counted it is never.
      EXPECT_EQ(again.counted_rows(), 0u) << retried;
    }
    generation_ = moved_on ? 0 : generation_;
    return true;
  }

  struct Counted {
    uint64_t rows = 0;
    double sum = 0;
  };
  const Counted& counted(uint64_t generation) { return counted_[generation]; }

 private:
  bool LearnGeneration() {
    v1::GetNormalizerRequest request;
    request.set_name(kName);
    v1::Normalizer normalizer;
    if (!service_->Call(&Handler::GetNormalizer, request, &normalizer).ok()) {
      return false;
    }
    generation_ = normalizer.generation();
    // A session that never wrote to this normalizer begins at 1; one that did
    // goes on, also after a reset.
    v1::ResumeSessionRequest resume;
    resume.set_session(session_);
    v1::ResumeSessionResponse resumed;
    const auto status =
        service_->Call(&SessionHandler::ResumeSession, resume, &resumed);
    EXPECT_TRUE(status.ok()) << status;
    epoch_ = resumed.epoch();
    sequence_ = 0;
    for (const auto& progress : resumed.progress()) {
      sequence_ = std::max(sequence_, progress.applied_sequence());
    }
    return true;
  }

  Service* const service_;
  std::mt19937 random_;
  std::string session_;
  uint64_t epoch_ = 0;
  uint64_t generation_ = 0;
  uint64_t sequence_ = 0;
  std::map<uint64_t, Counted> counted_;
};

TEST(HandlersUnderThreadsTest, ResetAndDeleteRaceWithFourWriters) {
  const uint64_t operations =
      std::getenv("STREAMNORM_LONG") != nullptr ? 1'000'000 : 10'000;
  Service service;
  ASSERT_TRUE(service.Create().ok());
  std::vector<std::unique_ptr<Writer>> writers;
  for (unsigned i = 0; i < 4; ++i) {
    writers.push_back(std::make_unique<Writer>(&service, i));
  }
  std::atomic<uint64_t> done{0};
  std::vector<std::thread> threads;
  threads.reserve(writers.size());
  for (auto& writer : writers) {
    threads.emplace_back([&, writer = writer.get()] {
      while (done < operations) done += writer->Update() ? 1 : 0;
    });
  }
  uint64_t resets = 0, deletes = 0;
  std::mt19937 random(9);
  while (done < operations) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    if (random() % 3 != 0) {
      v1::ResetStatisticsRequest request;
      request.set_name(kName);
      v1::Normalizer response;
      ASSERT_TRUE(
          service.Call(&Handler::ResetStatistics, request, &response).ok());
      ++resets;
    } else {
      v1::DeleteNormalizerRequest request;
      request.set_name(kName);
      google::protobuf::Empty response;
      ASSERT_TRUE(
          service.Call(&Handler::DeleteNormalizer, request, &response).ok());
      ASSERT_TRUE(service.Create().ok());
      ++deletes;
    }
  }
  for (auto& thread : threads) thread.join();
  for (auto& writer : writers) writer->Update();  // the last one has rows too

  v1::GetNormalizerRequest get;
  get.set_name(kName);
  v1::Normalizer normalizer;
  ASSERT_TRUE(service.Call(&Handler::GetNormalizer, get, &normalizer).ok());
  Writer::Counted told;
  for (auto& writer : writers) {
    const auto& counted = writer->counted(normalizer.generation());
    told.rows += counted.rows;
    told.sum += counted.sum;
  }
  EXPECT_EQ(normalizer.row_count(), told.rows);
  const auto stored = service.Stored();
  ASSERT_TRUE(stored.ok());
  ASSERT_EQ(stored->normalizers.size(), 1u);
  const auto& [definition, state, ledgers, kept, damaged] =
      stored->normalizers[0];
  uint64_t ledger_rows = 0;
  for (const LedgerRecord& ledger : ledgers) ledger_rows += ledger.rows;
  EXPECT_EQ(state.moments.row_count(), told.rows);
  EXPECT_EQ(state.base_rows + ledger_rows, told.rows);
  EXPECT_NEAR(state.moments.mean()[0] * double(told.rows), told.sum,
              1e-9 * told.sum);
  std::printf("%lu updates, %lu resets, %lu deletes\n",
              static_cast<unsigned long>(done.load()),
              static_cast<unsigned long>(resets),
              static_cast<unsigned long>(deletes));
}

// What threads ask of a service, none of which may break another.
class Visitor {
 public:
  Visitor(Service* service, unsigned seed) : service_(service), random_(seed) {}

  void Visit() {
    const std::string name = absl::StrCat("normalizers/n", random_() % 3);
    switch (random_() % 9) {
      case 0: {
        v1::CreateNormalizerRequest request;
        request.set_normalizer_id(name.substr(12));
        request.mutable_normalizer()->set_features(3);
        return Expect(Ask(&Handler::CreateNormalizer, request, &normalizer_),
                      {absl::StatusCode::kAlreadyExists});
      }
      case 1: {
        v1::DeleteNormalizerRequest request;
        request.set_name(name);
        if (random_() % 8 != 0) return;
        google::protobuf::Empty response;
        return Expect(Ask(&Handler::DeleteNormalizer, request, &response), {});
      }
      case 2: {
        v1::UpdateNormalizerRequest request;
        request.mutable_normalizer()->set_name(name);
        (*request.mutable_normalizer()->mutable_labels())["by"] = "visitor";
        request.mutable_update_mask()->add_paths("labels");
        return Expect(Ask(&Handler::UpdateNormalizer, request, &normalizer_),
                      {});
      }
      case 3: {
        v1::FreezeNormalizerRequest freeze;
        freeze.set_name(name);
        Expect(Ask(&Handler::FreezeNormalizer, freeze, &normalizer_), {});
        v1::UnfreezeNormalizerRequest unfreeze;
        unfreeze.set_name(name);
        return Expect(Ask(&Handler::UnfreezeNormalizer, unfreeze, &normalizer_),
                      {});
      }
      case 4: {
        v1::GetStatisticsRequest request;
        request.set_name(name);
        v1::Statistics statistics;
        return Expect(Ask(&Handler::GetStatistics, request, &statistics), {});
      }
      case 5: {
        v1::ListNormalizersResponse listed;
        Expect(Ask(&Handler::ListNormalizers, {}, &listed), {});
        EXPECT_LE(listed.normalizers_size(), 3);
        return;
      }
      case 6: {
        v1::MergeMomentsRequest request;
        request.set_name(name);
        request.set_count(2);
        request.set_mean(Bytes({1, 2, 3}));
        request.set_m2(Bytes({1, 1, 1}));
        request.set_return_statistics(true);
        v1::MergeMomentsResponse response;
        Expect(Ask(&Handler::MergeMoments, request, &response), {});
        v1::ExchangeMomentsRequest twice;
        *twice.add_merges() = request;
        *twice.add_merges() = request;
        v1::ExchangeMomentsResponse answers;
        Expect(Ask(&Handler::ExchangeMoments, twice, &answers), {});
        for (const auto& answer : answers.merges()) {
          const absl::Status entry(
              static_cast<absl::StatusCode>(answer.status().code()),
              answer.status().message());
          Expect(entry, {});
        }
        return;
      }
      case 7: {
        v1::DenormalizeRequest request;
        request.set_name(name);
        FillRow(request.mutable_input());
        v1::DenormalizeResponse response;
        return Expect(Ask(&Handler::Denormalize, request, &response),
                      {absl::StatusCode::kFailedPrecondition});  // no rows yet
      }
      default:
        return UseSession(name);
    }
  }

 private:
  // The whole life of a session, with another client that takes it over.
  void UseSession(const std::string& name) {
    v1::OpenSessionResponse opened;
    Expect(service_->Call(&SessionHandler::OpenSession, {}, &opened), {});
    uint64_t epoch = opened.epoch();
    for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
      v1::NormalizeRequest request;
      request.set_name(name);
      FillRow(request.mutable_input());
      request.mutable_update_id()->set_session(opened.session());
      request.mutable_update_id()->set_epoch(epoch);
      request.mutable_update_id()->set_sequence(sequence);
      v1::NormalizeResponse response;
      // Only a first update may leave its generation out.
      Expect(Ask(&Handler::Normalize, request, &response),
             {absl::StatusCode::kInvalidArgument,
              absl::StatusCode::kFailedPrecondition});
    }
    v1::BarrierRequest barrier;
    barrier.set_session(opened.session());
    barrier.set_epoch(epoch);
    v1::BarrierResponse passed;
    Expect(Ask(&SessionHandler::Barrier, barrier, &passed), {});
    v1::ResumeSessionRequest resume;
    resume.set_session(opened.session());
    v1::ResumeSessionResponse resumed;
    Expect(Ask(&SessionHandler::ResumeSession, resume, &resumed), {});
    v1::CloseSessionRequest close;
    close.set_session(opened.session());
    close.set_epoch(resumed.epoch());
    google::protobuf::Empty closed;
    Expect(Ask(&SessionHandler::CloseSession, close, &closed), {});
  }

  static void FillRow(v1::Tensor* tensor) {
    tensor->set_datatype(v1::FP64);
    tensor->add_shape(1);
    tensor->add_shape(3);
    tensor->set_data(Bytes({1, 2, 3}));
  }

  template <typename Face, typename Request, typename Response>
  absl::Status Ask(void (Face::*method)(const Request&, Response*,
                                        Handler::Done),
                   const Request& request, Response* response) {
    return service_->Call(method, request, response);
  }

  // Anyone may have deleted a normalizer a moment ago.
  static void Expect(const absl::Status& status,
                     std::initializer_list<absl::StatusCode> allowed) {
    if (status.ok() || absl::IsNotFound(status)) return;
    for (const absl::StatusCode code : allowed) {
      if (status.code() == code) return;
    }
    ADD_FAILURE() << status;
  }

  Service* const service_;
  std::mt19937 random_;
  v1::Normalizer normalizer_;
};

TEST(HandlersUnderThreadsTest, EveryRpcBesideEveryOther) {
  constexpr unsigned kVisitors = 6;
  Service service;
  std::vector<std::thread> threads;
  threads.reserve(kVisitors);
  for (unsigned i = 0; i < kVisitors; ++i) {
    threads.emplace_back([&service, i] {
      Visitor visitor(&service, i);
      for (int visits = 0; visits < 300; ++visits) visitor.Visit();
    });
  }
  for (auto& thread : threads) thread.join();

  const auto stored = service.Stored();
  ASSERT_TRUE(stored.ok());
  EXPECT_TRUE(stored->sessions.empty());
  for (const auto& [definition, state, ledgers, kept, damaged] :
       stored->normalizers) {
    EXPECT_TRUE(ledgers.empty()) << definition.id;
    EXPECT_EQ(state.moments.row_count(), state.base_rows) << definition.id;
  }
}

}  // namespace
}  // namespace streamnorm
