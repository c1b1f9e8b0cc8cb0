// kill -9 in the middle of eight clients' work: every row counts exactly once,
// and mean and variance are those of an exact integer computation.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <random>
#include <thread>
#include <vector>

#include "client/streamnorm_client.h"
#include "tests/stats/oracle.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

constexpr size_t kFeatures = 8;
constexpr int kClients = 8;
constexpr uint64_t kRows = kSanitized ? 100'000 : 1'000'000;
constexpr size_t kBatch = 50;
constexpr uint64_t kUpdatesOfEach = kRows / kClients / kBatch;

// Sums of integers: exact, in any order.
struct IntegerSums {
  Int128 rows = 0;
  Int128 sum[kFeatures] = {};
  Int128 squares[kFeatures] = {};

  void Add(const IntegerSums& other) {
    rows += other.rows;
    for (size_t j = 0; j < kFeatures; ++j) {
      sum[j] += other.sum[j];
      squares[j] += other.squares[j];
    }
  }
  Quad Mean(size_t j) const { return Quad(sum[j]) / Quad(rows); }
  Quad Variance(size_t j) const {
    return Quad(squares[j] * rows - sum[j] * sum[j]) / Quad(rows * rows);
  }
};

// Batches of integers around an offset of their own per feature.
class Rows {
 public:
  explicit Rows(int client) : random_(static_cast<uint64_t>(client)) {}

  std::vector<float> Next(IntegerSums* sums) {
    std::vector<float> batch(kBatch * kFeatures);
    for (size_t i = 0; i < batch.size(); ++i) {
      const size_t j = i % kFeatures;
      const auto value = static_cast<int64_t>(random_() % 2001) +
                         static_cast<int64_t>(j) * 1'000'000 - 1000;
      batch[i] = static_cast<float>(value);  // exact below 2^24
      sums->sum[j] += value;
      sums->squares[j] += Int128(value) * value;
    }
    sums->rows += kBatch;
    return batch;
  }

 private:
  std::mt19937_64 random_;
};

struct ClientResult {
  IntegerSums sent;
  uint64_t replayed = 0;
  uint64_t reconnects = 0;
};

// Keeps 16 updates on the wire; `progress` counts answers of all clients.
void RunClient(const std::string& address, int number,
               std::atomic<uint64_t>* progress, ClientResult* result) {
  ClientOptions options;
  options.use_lane = number % 2 == 0;
  auto client = Client::Connect(address, options);
  ASSERT_TRUE(client.ok()) << client.status();
  auto session = (*client)->OpenSession("client " + std::to_string(number));
  ASSERT_TRUE(session.ok()) << session.status();
  Rows rows(number);
  const auto receive = [&] {
    const auto answer = (*session)->Receive();
    ASSERT_TRUE(answer.ok()) << answer.status();
    ++*progress;
  };
  for (uint64_t i = 0; i < kUpdatesOfEach; ++i) {
    const std::vector<float> batch = rows.Next(&result->sent);
    ASSERT_TRUE((*session)
                    ->Submit(MakeNormalizeRequest("n", RowsOf(batch, kFeatures),
                                                  v1::UPDATE_THEN_NORMALIZE))
                    .ok());
    if ((*session)->in_flight() >= 16) receive();
  }
  while ((*session)->in_flight() > 0) receive();
  result->replayed = (*session)->replayed_updates();
  result->reconnects = (*session)->reconnects();
  const absl::Status closed = (*session)->Close();
  EXPECT_TRUE(closed.ok()) << closed;
}

TEST(CrashTest, EightClientsAMillionRowsAndThreeKills) {
  TempDir dir;
  ServerUnderTest server({"--listen", "unix:" + (dir / "socket"), "--data_dir",
                          dir / "data", "--log_level=warning"});
  auto client = Client::Connect(server.address());
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE((*client)->GetOrCreateNormalizer("n", kFeatures).ok());

  std::atomic<uint64_t> progress{0};
  std::vector<ClientResult> results(kClients);
  std::vector<std::thread> threads;
  for (int c = 0; c < kClients; ++c) {
    threads.emplace_back(RunClient, server.address(), c, &progress,
                         &results[static_cast<size_t>(c)]);
  }
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::minutes(4);
  for (const int quarter : {1, 2, 3}) {
    while (progress < kUpdatesOfEach * kClients * uint64_t(quarter) / 4) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
    server.Kill();
    server.Restart();
    ASSERT_FALSE(server.address().empty());
  }
  for (auto& thread : threads) thread.join();

  IntegerSums sent;
  uint64_t replayed = 0, reconnects = 0;
  for (const ClientResult& result : results) {
    sent.Add(result.sent);
    replayed += result.replayed;
    reconnects += result.reconnects;
  }
  v1::GetStatisticsRequest request;
  request.set_name("normalizers/n");
  const auto statistics = (*client)->GetStatistics(request);
  ASSERT_TRUE(statistics.ok()) << statistics.status();
  EXPECT_EQ(statistics->row_count(), kRows);
  ASSERT_EQ(sent.rows, Int128(kRows));
  double mean_digits = 40, variance_digits = 40;
  for (size_t j = 0; j < kFeatures; ++j) {
    const auto& feature = statistics->features(static_cast<int>(j));
    mean_digits =
        std::min(mean_digits, CorrectDigits(feature.mean(), sent.Mean(j)));
    variance_digits = std::min(
        variance_digits, CorrectDigits(feature.variance(), sent.Variance(j)));
  }
  EXPECT_GE(mean_digits, 12);
  EXPECT_GE(variance_digits, 12);
  std::printf(
      "%lu rows of %d clients, 3 kills: counted %lu; %lu updates sent again "
      "after %lu reconnects; mean %.1f and variance %.1f correct digits\n",
      static_cast<unsigned long>(kRows), kClients,
      static_cast<unsigned long>(statistics->row_count()),
      static_cast<unsigned long>(replayed),
      static_cast<unsigned long>(reconnects), mean_digits, variance_digits);
}

}  // namespace
}  // namespace streamnorm
