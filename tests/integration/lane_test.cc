// The lane (docs/lane.md): the same answers and the same guarantees as over
// gRPC, and gRPC where it is not to be had.

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/streamnorm_client.h"
#include "lane/frame_reader.h"
#include "lane/unix_socket.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

class LaneTest : public testing::Test {
 protected:
  explicit LaneTest(std::vector<std::string> flags = {})
      : server_(Flags(std::move(flags))), client_(Connect(true)) {}

  std::vector<std::string> Flags(std::vector<std::string> more) {
    more.insert(more.end(),
                {"--listen", "unix:" + (dir_ / "socket"), "--data_dir",
                 dir_ / "data", "--log_level=warning"});
    return more;
  }

  std::unique_ptr<Client> Connect(bool use_lane) {
    ClientOptions options;
    options.use_lane = use_lane;
    auto client = Client::Connect(server_.address(), options);
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }

  std::unique_ptr<ClientSession> Open(const std::string& id, size_t features,
                                      bool use_lane = true) {
    if (!use_lane) others_.push_back(Connect(false));
    Client& client = use_lane ? *client_ : *others_.back();
    EXPECT_TRUE(
        client.GetOrCreateNormalizer(id, static_cast<int64_t>(features)).ok());
    return *client.OpenSession("lane_test");
  }

  static absl::StatusOr<v1::NormalizeResponse> Send(
      ClientSession* session, const std::string& id,
      const std::vector<float>& rows, size_t features) {
    return session->Normalize(id,
                              RowsOf(std::span<const float>(rows), features));
  }

  std::string LanePath() const { return dir_ / "data/streamnorm.lane"; }
  uint64_t RowCount(const std::string& id) {
    return static_cast<uint64_t>(client_->GetNormalizer(id)->row_count());
  }

  TempDir dir_;
  ServerUnderTest server_;
  std::unique_ptr<Client> client_;
  std::vector<std::unique_ptr<Client>> others_;
};

std::vector<float> SomeRows(size_t rows, size_t features, uint32_t seed) {
  std::vector<float> values(rows * features);
  for (float& value : values) {
    seed = seed * 1664525 + 1013904223;
    value = static_cast<float>(seed >> 8) / 65536.0f;
  }
  return values;
}

TEST_F(LaneTest, AnswersAreThoseOfGrpcBitByBit) {
  for (const size_t rows : {1, 4, 200, 3000}) {
    const std::string id = absl::StrCat("n", rows);
    auto lane = Open(id, 33);
    auto grpc = Open(id + "-grpc", 33, /*use_lane=*/false);
    for (uint32_t step = 0; step < 5; ++step) {
      const auto values = SomeRows(rows, 33, step);
      const auto a = Send(lane.get(), id, values, 33);
      const auto b = Send(grpc.get(), id + "-grpc", values, 33);
      ASSERT_TRUE(a.ok()) << a.status();
      ASSERT_TRUE(b.ok()) << b.status();
      EXPECT_EQ(a->output().SerializeAsString(),
                b->output().SerializeAsString());
      EXPECT_EQ(a->row_count(), b->row_count());
    }
    EXPECT_TRUE(lane->uses_lane());
    EXPECT_FALSE(grpc->uses_lane());
  }
}

TEST_F(LaneTest, RefusedRequestIsAnsweredInItsPlaceAndTheRestGoesOn) {
  auto session = Open("n", 4);
  const std::vector<float> good(8, 1.0f), bad(9, 1.0f);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(session
                    ->Submit(MakeNormalizeRequest(
                        "n", RowsOf(std::span<const float>(good), 4),
                        v1::UPDATE_THEN_NORMALIZE))
                    .ok());
    ASSERT_TRUE(session
                    ->Submit(MakeNormalizeRequest(
                        "n", RowsOf(std::span<const float>(bad), 3),
                        v1::UPDATE_THEN_NORMALIZE))
                    .ok());
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(session->Receive().ok());
    const auto refused = session->Receive();
    EXPECT_TRUE(absl::IsInvalidArgument(refused.status()));
    EXPECT_EQ(ErrorReason(refused.status()), "INVALID_ARGUMENT");
    EXPECT_NE(refused.status().message().find("input.shape[1]: 3, want 4"),
              std::string::npos)
        << refused.status();
  }
  EXPECT_TRUE(session->uses_lane());
  EXPECT_TRUE(session->Barrier().ok());
  EXPECT_EQ(RowCount("n"), 6u);
}

TEST_F(LaneTest, ManyLargeBatchesAtATimeDoNotBlockOneAnother) {
  constexpr size_t kFeatures = 1024, kRows = 256, kBatches = 40;
  auto session = Open("n", kFeatures);
  const auto values = SomeRows(kRows, kFeatures, 7);
  size_t received = 0;
  for (size_t i = 0; i < kBatches; ++i) {
    ASSERT_TRUE(session
                    ->Submit(MakeNormalizeRequest(
                        "n", RowsOf(std::span<const float>(values), kFeatures),
                        v1::UPDATE_THEN_NORMALIZE))
                    .ok());
  }
  while (session->in_flight() > 0) {
    const auto answer = session->Receive();
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->row_count(), ++received * kRows);
  }
  EXPECT_TRUE(session->uses_lane());
}

TEST_F(LaneTest, KilledServerLosesAndDoublesNothing) {
  constexpr int kUpdates = 2000;
  auto session = Open("n", 4);
  for (int i = 0; i < kUpdates; ++i) {
    if (i % 500 == 250) {
      server_.Kill();
      server_.Restart();
    }
    const auto answer = Send(session.get(), "n",
                             std::vector<float>(8, static_cast<float>(i)), 4);
    ASSERT_TRUE(answer.ok()) << answer.status();
  }
  EXPECT_TRUE(session->Barrier().ok());
  EXPECT_TRUE(session->uses_lane()) << "again after each restart";
  EXPECT_EQ(RowCount("n"), 2u * kUpdates);
}

TEST_F(LaneTest, SessionGoesOnOverGrpcWhereTheLaneIsGone) {
  auto session = Open("n", 4);
  const std::vector<float> rows(8, 1.0f);
  ASSERT_TRUE(Send(session.get(), "n", rows, 4).ok());
  ASSERT_TRUE(session->uses_lane());
  EXPECT_EQ(server_.Terminate(), 0);
  server_.Restart(Flags({"--lane", "none"}), {});
  ASSERT_TRUE(Send(session.get(), "n", rows, 4).ok());
  EXPECT_FALSE(session->uses_lane());
  EXPECT_EQ(RowCount("n"), 4u);
}

TEST_F(LaneTest, AnswerThatWaitsForTheDiskKeepsTheOrder) {
  auto session = Open("n", 4);
  const std::vector<float> rows(8, 1.0f);
  for (int i = 0; i < 50; ++i) {
    auto request =
        MakeNormalizeRequest("n", RowsOf(std::span<const float>(rows), 4),
                             v1::UPDATE_THEN_NORMALIZE);
    request.set_wait_durable(i % 3 == 0);
    ASSERT_TRUE(session->Submit(std::move(request)).ok());
  }
  for (uint64_t i = 0; i < 50; ++i) {
    const auto answer = session->Receive();
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->row_count(), 2 * (i + 1));
    if (i % 3 == 0) {
      EXPECT_GE(answer->durable_sequence(), i + 1);
    }
  }
}

TEST_F(LaneTest, StoppingServerAnswersWhatItReceivedAndEnds) {
  std::vector<std::unique_ptr<ClientSession>> sessions;
  for (int i = 0; i < 50; ++i) {
    sessions.push_back(Open("n", 4));
    ASSERT_TRUE(
        Send(sessions.back().get(), "n", std::vector<float>(4, 1.0f), 4).ok());
    ASSERT_TRUE(sessions.back()->uses_lane());
  }
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(server_.Terminate(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  server_.Restart();
  EXPECT_EQ(RowCount("n"), 50u);
}

class OneLaneTest : public LaneTest {
 protected:
  OneLaneTest() : LaneTest({"--max_lane_connections=1"}) {}
};

TEST_F(OneLaneTest, OneTooManyGoesOverGrpc) {
  auto first = Open("n", 4);
  const std::vector<float> rows(4, 1.0f);
  ASSERT_TRUE(Send(first.get(), "n", rows, 4).ok());
  ASSERT_TRUE(first->uses_lane());
  {
    auto second = Open("n", 4);
    ASSERT_TRUE(Send(second.get(), "n", rows, 4).ok());
    EXPECT_FALSE(second->uses_lane());
  }
  EXPECT_EQ(RowCount("n"), 2u);
}

// What is no client of ours.
class LaneAbuseTest : public LaneTest {
 protected:
  LaneAbuseTest() : LaneTest({"--drain_timeout_s=1"}) {}

  UniqueFd Raw() {
    auto fd = ConnectToUnixSocket(LanePath());
    EXPECT_TRUE(fd.ok()) << fd.status();
    return fd.ok() ? *std::move(fd) : UniqueFd();
  }

  UniqueFd Greeted() {
    UniqueFd fd = Raw();
    std::array<char, 8> magic = kLaneMagic;
    SendBytes(fd.get(), std::string(magic.data(), magic.size()));
    std::array<char, kLaneHelloBytes> hello;
    EXPECT_TRUE(ReceiveExactly(fd.get(), hello.data(), hello.size(),
                               std::chrono::seconds(5))
                    .ok());
    return fd;
  }

  static void SendBytes(int fd, std::string bytes) {
    iovec part = {bytes.data(), bytes.size()};
    EXPECT_TRUE(SendAll(fd, &part, 1).ok());
  }

  static std::string FrameOf(uint8_t method, const std::string& message) {
    std::string bytes(kFrameHeaderBytes, '\0');
    FrameHeader header;
    header.bytes = static_cast<uint32_t>(message.size());
    header.method = method;
    EncodeFrameHeader(header, reinterpret_cast<uint8_t*>(bytes.data()));
    return bytes + message;
  }

  // The next answer's flags; -1 at the end.
  static int NextFlags(int fd) {
    std::array<uint8_t, kFrameHeaderBytes> bytes;
    const std::chrono::seconds patience(5);
    if (!ReceiveExactly(fd, bytes.data(), bytes.size(), patience).ok()) {
      return -1;
    }
    const FrameHeader header = DecodeFrameHeader(bytes.data());
    std::string message(header.bytes, '\0');
    EXPECT_TRUE(
        ReceiveExactly(fd, message.data(), message.size(), patience).ok());
    return header.flags;
  }

  void ExpectStillServes() {
    auto session = Open("still-serves", 4);
    EXPECT_TRUE(
        Send(session.get(), "still-serves", std::vector<float>(4, 1.0f), 4)
            .ok());
    EXPECT_TRUE(session->uses_lane());
  }
};

TEST_F(LaneAbuseTest, WrongGreetingEndsTheConnection) {
  UniqueFd fd = Raw();
  SendBytes(fd.get(), "GET / HT");
  std::array<char, kLaneHelloBytes + 1> hello;
  EXPECT_FALSE(ReceiveExactly(fd.get(), hello.data(), hello.size(),
                              std::chrono::seconds(5))
                   .ok());
  ExpectStillServes();
}

TEST_F(LaneAbuseTest, WhatIsNoRequestIsRefusedAndTheNextOneIsRead) {
  const UniqueFd fd = Greeted();
  SendBytes(fd.get(), FrameOf(99, "x") + FrameOf(1, "\xff\xff\xff") +
                          FrameOf(2, "\xff") + FrameOf(1, ""));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(NextFlags(fd.get()), kLaneError) << i;
  ExpectStillServes();
}

TEST_F(LaneAbuseTest, TooLargeAMessageIsRefusedBeforeItIsReceived) {
  const UniqueFd fd = Greeted();
  std::string header = FrameOf(1, "");
  std::fill_n(header.begin(), 4, '\xff');
  SendBytes(fd.get(), header);
  EXPECT_EQ(NextFlags(fd.get()), kLaneError);
  EXPECT_EQ(NextFlags(fd.get()), -1);
  ExpectStillServes();
}

TEST_F(LaneAbuseTest, ConnectionThatEndsAnywhereWithinAFrameCountsNothing) {
  v1::NormalizeRequest request = MakeNormalizeRequest(
      "n", RowsOf(std::span<const float>(std::vector<float>(8, 1.0f)), 4),
      v1::UPDATE_ONLY);
  Open("n", 4);
  const std::string frame = FrameOf(1, request.SerializeAsString());
  for (size_t length = 0; length < frame.size(); length += 7) {
    const UniqueFd fd = Greeted();
    SendBytes(fd.get(), frame.substr(0, length));
  }
  ExpectStillServes();
  EXPECT_EQ(RowCount("n"), 0u);
}

TEST_F(LaneAbuseTest, ClientThatNeverReadsIsNotReadFromAndHoldsUpNobody) {
  Open("n", 1024);
  const auto values = SomeRows(64, 1024, 1);
  v1::NormalizeRequest request =
      MakeNormalizeRequest("n", RowsOf(std::span<const float>(values), 1024),
                           v1::NORMALIZE_THEN_UPDATE);
  const std::string frame = FrameOf(1, request.SerializeAsString());
  const UniqueFd fd = Greeted();
  size_t sent = 0;
  while (true) {  // until both sockets' buffers are full
    const ssize_t n =
        send(fd.get(), frame.data() + sent % frame.size(),
             frame.size() - sent % frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      sent += static_cast<size_t>(n);
      continue;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    if (send(fd.get(), frame.data() + sent % frame.size(), 1,
             MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
      break;
    }
    ++sent;
  }
  EXPECT_LT(sent, size_t{16} << 20);
  ExpectStillServes();
  EXPECT_EQ(server_.Terminate(), 0);
}

TEST_F(LaneAbuseTest, SecondServerDoesNotTakeALaneThatIsInUse) {
  ServerUnderTest second({"--listen", "unix:" + (dir_ / "second"), "--data_dir",
                          dir_ / "other", "--lane", LanePath()});
  EXPECT_EQ(second.Wait(), 69);
  EXPECT_NE(second.log().find("another process listens there"),
            std::string::npos);
  ExpectStillServes();
}

}  // namespace
}  // namespace streamnorm
