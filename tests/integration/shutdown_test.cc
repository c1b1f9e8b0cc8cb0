// SIGTERM: what is being answered is answered, everything is committed, exit 0.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "client/streamnorm_client.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using Clock = std::chrono::steady_clock;

class ShutdownTest : public testing::Test {
 protected:
  ShutdownTest()
      : server_({"--listen", "unix:" + (dir_ / "socket"), "--listen",
                 "unix:" + (dir_ / "other"), "--data_dir", dir_ / "data",
                 "--log_level=warning"}) {}

  TempDir dir_;
  ServerUnderTest server_;
};

// One thread that takes SIGTERM, and the server dies of it instead of ending.
TEST_F(ShutdownTest, NoThreadButTheOneThatWaitsForItTakesSigterm) {
  const auto tasks =
      std::filesystem::path("/proc") / std::to_string(server_.pid()) / "task";
  int threads = 0;
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    // sigwait(2) unblocks for the main thread what it waits for.
    if (task.path().filename() == std::to_string(server_.pid())) continue;
    std::ifstream status(task.path() / "status");
    std::string line;
    while (std::getline(status, line) && !line.starts_with("SigBlk:")) {
    }
    const uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
    EXPECT_TRUE(blocked >> (SIGTERM - 1) & 1) << task.path();
    EXPECT_TRUE(blocked >> (SIGINT - 1) & 1) << task.path();
    ++threads;
  }
  EXPECT_GE(threads, 2) << "gRPC has some, and the committer";
}

TEST_F(ShutdownTest, WithOpenStreamsItEndsSoonWithEverythingCommitted) {
  // Each address is a connection of its own, and takes 1,000 streams.
  constexpr int kStreams = 1000;
  auto client = *Client::Connect(server_.address());
  auto other = *Client::Connect("unix:" + (dir_ / "other"));
  ASSERT_TRUE(client->GetOrCreateNormalizer("n", 1).ok());
  std::vector<std::unique_ptr<ClientSession>> sessions;
  for (int i = 0; i < kStreams; ++i) {
    sessions.push_back(*(i % 2 == 0 ? client : other)->OpenSession("test"));
    const double row = i;
    ASSERT_TRUE(
        sessions.back()->Normalize("n", RowsOf(std::span(&row, 1), 1)).ok());
  }
  const auto start = Clock::now();
  EXPECT_EQ(server_.Terminate(), 0);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(15));
  server_.Restart();
  EXPECT_EQ(client->GetNormalizer("n")->row_count(), uint64_t(kStreams));
  for (const auto& session : sessions) {
    ASSERT_TRUE(session->Close().ok());
    EXPECT_EQ(session->replayed_updates(), 0) << "nothing left to replay";
  }
}

TEST_F(ShutdownTest, UnderLoadItEndsSoonAndNothingIsLostOrDoubled) {
  constexpr int kClients = 4;
  constexpr int kUpdates = 3000;
  std::atomic<int> answered{0};
  {
    auto client = *Client::Connect(server_.address());
    ASSERT_TRUE(client->GetOrCreateNormalizer("n", 1).ok());
  }
  std::vector<std::thread> threads;
  for (int c = 0; c < kClients; ++c) {
    threads.emplace_back([&] {
      auto client = *Client::Connect(server_.address());
      auto session = *client->OpenSession("test");
      const double row = 1;
      for (int i = 0; i < kUpdates; ++i) {
        const auto answer =
            session->Normalize("n", RowsOf(std::span(&row, 1), 1));
        ASSERT_TRUE(answer.ok()) << answer.status();
        ++answered;
      }
      const auto closed = session->Close();
      ASSERT_TRUE(closed.ok()) << closed;
    });
  }
  while (answered < kClients * kUpdates / 2) std::this_thread::yield();
  const auto start = Clock::now();
  EXPECT_EQ(server_.Terminate(), 0);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(15));
  server_.Restart();
  for (auto& thread : threads) thread.join();
  auto client = *Client::Connect(server_.address());
  EXPECT_EQ(client->GetNormalizer("n")->row_count(),
            uint64_t(kClients * kUpdates));
}

}  // namespace
}  // namespace streamnorm
