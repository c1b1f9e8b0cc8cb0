// The lane's threads, without gRPC and with a store in memory: made for
// ThreadSanitizer, which sees all of a request's way here, from the socket to
// the committer and back.

#include "server/lane_server.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lane/frame_reader.h"
#include "server/committer.h"
#include "server/handler.h"
#include "server/registry.h"
#include "storage/memory_store.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

constexpr char kName[] = "normalizers/n";
constexpr int64_t kFeatures = 4;

// The service with a lane and nothing else.
class LaneServerTest : public testing::Test {
 protected:
  LaneServerTest()
      : committer_({}, store_.get(), &queue_, [](const absl::Status&) {}),
        handler_({Limits(), false, history_, 1}, &registry_, &sessions_,
                 &queue_, &committer_) {
    v1::CreateNormalizerRequest request;
    request.set_normalizer_id("n");
    request.mutable_normalizer()->set_features(kFeatures);
    v1::Normalizer made;
    Call(&Handler::CreateNormalizer, request, &made);
    LaneServer::Options options;
    options.path = dir_ / "lane";
    options.max_connections = 16;
    options.max_message_bytes = 1 << 20;
    options.hello = {kLaneMagic, history_, 1};
    lane_ = *LaneServer::Start(options, &handler_);
  }

  template <typename Request, typename Response>
  void Call(void (Handler::*method)(const Request&, Response*, Handler::Done),
            const Request& request, Response* response) {
    std::promise<absl::Status> answer;
    (handler_.*method)(request, response, [&](absl::Status status) {
      answer.set_value(std::move(status));
    });
    const absl::Status status = answer.get_future().get();
    EXPECT_TRUE(status.ok()) << status;
  }

  uint64_t RowCount() {
    v1::GetNormalizerRequest request;
    request.set_name(kName);
    v1::Normalizer response;
    Call(&Handler::GetNormalizer, request, &response);
    return static_cast<uint64_t>(response.row_count());
  }

  const HistoryId history_ = NewHistoryId();
  TempDir dir_;
  std::unique_ptr<StatisticsStore> store_ = NewMemoryStore();
  CommitQueue queue_;
  SessionTable sessions_{{.max_sessions = 1000}};
  Registry registry_{{1000, 100'000}, &queue_};
  Committer committer_;
  Handler handler_;
  std::unique_ptr<LaneServer> lane_;
};

// A client that knows the bytes of docs/lane.md and no more.
class Caller {
 public:
  explicit Caller(const std::string& path)
      : fd_(*ConnectToUnixSocket(path)), reader_(fd_.get(), 1 << 20) {
    std::array<char, 8> magic = kLaneMagic;
    iovec part = {magic.data(), magic.size()};
    std::array<uint8_t, kLaneHelloBytes> hello;
    greeted_ = SendAll(fd_.get(), &part, 1).ok() &&
               ReceiveExactly(fd_.get(), hello.data(), hello.size(),
                              std::chrono::seconds(10))
                   .ok();
  }

  bool greeted() const { return greeted_; }

  // Without a session: each is answered when it is on disk.
  bool Send(double value, v1::Mode mode,
            uint8_t method = static_cast<uint8_t>(LaneMethod::kNormalize)) {
    v1::NormalizeRequest request;
    request.set_name(kName);
    request.set_mode(mode);
    request.mutable_input()->add_shape(kFeatures);
    for (int64_t i = 0; i < kFeatures; ++i) {
      request.mutable_input()->add_values(value);
    }
    std::string bytes(kFrameHeaderBytes, '\0');
    request.AppendToString(&bytes);
    FrameHeader header;
    header.method = method;
    header.bytes = static_cast<uint32_t>(bytes.size() - kFrameHeaderBytes);
    EncodeFrameHeader(header, reinterpret_cast<uint8_t*>(bytes.data()));
    iovec part = {bytes.data(), bytes.size()};
    return SendAll(fd_.get(), &part, 1).ok();
  }

  // False at the end of the connection, or if the answer is an error.
  bool Receive(v1::NormalizeResponse* response) {
    while (true) {
      const auto frame = reader_.Take();
      if (!frame.ok()) return false;
      if (*frame) {
        return (*frame)->header.flags == 0 &&
               response->ParseFromArray(
                   (*frame)->message, static_cast<int>((*frame)->header.bytes));
      }
      const auto ended = reader_.Receive(/*block=*/true);
      if (!ended.ok() || *ended) return false;
    }
  }

 private:
  UniqueFd fd_;
  FrameReader reader_;
  bool greeted_ = false;
};

TEST_F(LaneServerTest, ManyClientsOnOneNormalizerLoseNoRow) {
  constexpr int kThreads = 4, kRequests = 200, kAhead = 8;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Caller caller(lane_->path());
      ASSERT_TRUE(caller.greeted());
      v1::NormalizeResponse response;
      for (int i = 0; i < kRequests + kAhead; ++i) {
        if (i < kRequests) {
          // Some wait for the disk and some don't.
          ASSERT_TRUE(caller.Send(
              t + i, i % 4 == 3 ? v1::NORMALIZE_ONLY : v1::UPDATE_ONLY));
        }
        if (i >= kAhead) {
          ASSERT_TRUE(caller.Receive(&response));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(RowCount(), uint64_t{kThreads} * kRequests * 3 / 4);
  const RpcMetrics& counted = lane_->metrics().normalize;
  EXPECT_EQ(counted.Ended(absl::StatusCode::kOk), kThreads * kRequests);
  EXPECT_EQ(counted.InFlight(), 0u);
  EXPECT_EQ(handler_.work().Sum(WorkMetrics::kRowsCounted), RowCount());
}

TEST_F(LaneServerTest, WhatIsNoMethodCountsAsOther) {
  Caller caller(lane_->path());
  EXPECT_TRUE(caller.Send(1, v1::UPDATE_ONLY, /*method=*/99));
  v1::NormalizeResponse response;
  EXPECT_FALSE(caller.Receive(&response));
  const LaneMetrics& metrics = lane_->metrics();
  EXPECT_EQ(metrics.other.Ended(absl::StatusCode::kInvalidArgument), 1u);
  EXPECT_EQ(metrics.normalize.Ended(absl::StatusCode::kOk), 0u);
}

TEST_F(LaneServerTest, DrainAnswersAllThatCountedWhileClientsSend) {
  std::atomic<uint64_t> answered{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Caller caller(lane_->path());
      v1::NormalizeResponse response;
      while (caller.Send(1, v1::UPDATE_ONLY) && caller.Receive(&response)) {
        ++answered;
      }
    });
  }
  while (answered < 20) std::this_thread::yield();
  lane_->Drain(std::chrono::steady_clock::now() + std::chrono::seconds(20));
  for (std::thread& thread : threads) thread.join();
  lane_->Stop();
  EXPECT_EQ(RowCount(), answered);
}

TEST_F(LaneServerTest, OneTooManyIsClosedAndTheNextOneFindsItsPlace) {
  {
    std::vector<std::unique_ptr<Caller>> callers;
    callers.reserve(16);
    for (int i = 0; i < 16; ++i) {
      callers.push_back(std::make_unique<Caller>(lane_->path()));
      EXPECT_TRUE(callers.back()->greeted());
    }
    EXPECT_FALSE(Caller(lane_->path()).greeted());
  }
  bool greeted = false;
  for (int i = 0; i < 1000 && !greeted; ++i) {
    greeted = Caller(lane_->path()).greeted();
    std::this_thread::yield();
  }
  EXPECT_TRUE(greeted);
}

}  // namespace
}  // namespace streamnorm
