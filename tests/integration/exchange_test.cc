// ExchangeMoments through the client library: what is refused, repeated, late
// or cut off by a kill -9 counts as often as it should, in every layer.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/streamnorm_client.h"
#include "tests/stats/oracle.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

constexpr size_t kFeatures = 3;

std::string Bytes(const std::vector<double>& values) {
  return {reinterpret_cast<const char*>(values.data()),
          values.size() * sizeof(double)};
}

std::string Layer(int i) { return absl::StrCat("layer", i); }

// What a layer has to have in the end: sums of integers, exact in any order.
struct LayerSums {
  Int128 rows = 0;
  Int128 sum[kFeatures] = {};
  Int128 squares[kFeatures] = {};

  void Add(const LayerSums& other) {
    rows += other.rows;
    for (size_t j = 0; j < kFeatures; ++j) {
      sum[j] += other.sum[j];
      squares[j] += other.squares[j];
    }
  }
};

// The moments of a few rows of integers. Four of them: mean and m2 are exact.
v1::MergeMomentsRequest MergeOf(const std::string& layer,
                                std::mt19937_64* random, LayerSums* sums) {
  constexpr int kRows = 4;
  std::vector<double> mean, m2;
  for (size_t j = 0; j < kFeatures; ++j) {
    int64_t sum = 0, squares = 0;
    for (int r = 0; r < kRows; ++r) {
      const auto value = static_cast<int64_t>((*random)() % 2001) - 1000;
      sum += value;
      squares += value * value;
    }
    sums->sum[j] += sum;
    sums->squares[j] += squares;
    mean.push_back(static_cast<double>(sum) / kRows);
    m2.push_back(static_cast<double>(squares * kRows - sum * sum) / kRows);
  }
  sums->rows += kRows;
  v1::MergeMomentsRequest merge;
  merge.set_name("normalizers/" + layer);
  merge.set_count(kRows);
  merge.set_mean(Bytes(mean));
  merge.set_m2(Bytes(m2));
  merge.set_return_statistics(true);
  return merge;
}

class ExchangeTest : public testing::Test {
 protected:
  static constexpr int kLayers = 4;

  ExchangeTest()
      : server_({"--listen", "unix:" + (dir_ / "socket"), "--data_dir",
                 dir_ / "data", "--log_level=warning"}) {
    client_ = *Client::Connect(server_.address());
    for (int i = 0; i < kLayers; ++i) {
      EXPECT_TRUE(client_->GetOrCreateNormalizer(Layer(i), kFeatures).ok());
    }
  }

  // A merge into each layer, and a second one into the first.
  std::vector<v1::MergeMomentsRequest> Step() {
    return StepOf(&random_, &sent_);
  }
  static std::vector<v1::MergeMomentsRequest> StepOf(
      std::mt19937_64* random, std::vector<LayerSums>* sums) {
    std::vector<v1::MergeMomentsRequest> merges;
    for (size_t i = 0; i <= kLayers; ++i) {
      const size_t layer = i % kLayers;
      merges.push_back(
          MergeOf(Layer(static_cast<int>(layer)), random, &(*sums)[layer]));
    }
    return merges;
  }

  void CheckCounts(const std::vector<LayerSums>& sums) {
    for (int i = 0; i < kLayers; ++i) {
      SCOPED_TRACE(i);
      v1::GetStatisticsRequest request;
      request.set_name("normalizers/" + Layer(i));
      const auto statistics = client_->GetStatistics(request);
      ASSERT_TRUE(statistics.ok()) << statistics.status();
      const LayerSums& layer = sums[static_cast<size_t>(i)];
      ASSERT_EQ(Int128(statistics->row_count()), layer.rows);
      for (size_t j = 0; j < kFeatures && layer.rows > 0; ++j) {
        const auto& feature = statistics->features(static_cast<int>(j));
        const Quad rows = Quad(layer.rows);
        EXPECT_GE(CorrectDigits(feature.mean(), Quad(layer.sum[j]) / rows), 12);
        const Int128 squares =
            layer.squares[j] * layer.rows - layer.sum[j] * layer.sum[j];
        EXPECT_GE(
            CorrectDigits(feature.variance(), Quad(squares) / (rows * rows)),
            12);
      }
    }
  }

  TempDir dir_;
  ServerUnderTest server_;
  std::unique_ptr<Client> client_;
  std::mt19937_64 random_{1};
  std::vector<LayerSums> sent_{kLayers};
};

TEST_F(ExchangeTest, EachEntryIsAnsweredInItsPlace) {
  auto session = *client_->OpenSession("test");
  const auto answers = session->ExchangeMoments(Step());
  ASSERT_TRUE(answers.ok()) << answers.status();
  ASSERT_EQ(answers->size(), kLayers + 1);
  for (const auto& answer : *answers) {
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->mean().size(), kFeatures * sizeof(double));
    EXPECT_EQ(answer->counted_rows(), 4);
    EXPECT_FALSE(answer->duplicate());
  }
  EXPECT_EQ(answers->front()->row_count(), 4);
  EXPECT_EQ(answers->back()->row_count(), 8) << "the first layer's second";
  ASSERT_TRUE(session->Close().ok());
  EXPECT_EQ(session->buffered_updates(), 0);
  CheckCounts(sent_);
}

TEST_F(ExchangeTest, ARefusedEntryIsAnErrorInItsPlaceAndLeavesNoHole) {
  auto session = *client_->OpenSession("test");
  for (int i = 0; i < 20; ++i) {
    auto merges = Step();
    LayerSums ignored;
    auto bad = MergeOf(Layer(2), &random_, &ignored);
    bad.mutable_m2()->resize(8);
    merges.insert(merges.begin() + 2, bad);
    merges.push_back(MergeOf("nobody", &random_, &ignored));
    const auto answers = session->ExchangeMoments(merges);
    ASSERT_TRUE(answers.ok()) << answers.status();
    for (size_t k = 0; k < answers->size(); ++k) {
      const absl::Status& status = (*answers)[k].status();
      if (k == 2) {
        EXPECT_TRUE(absl::IsInvalidArgument(status));
        EXPECT_EQ(status.message().find("merges[2].m2: 8 bytes"), 0) << status;
      } else if (k == answers->size() - 1) {
        EXPECT_EQ(ErrorReason(status), "NORMALIZER_NOT_FOUND");
      } else {
        EXPECT_TRUE(status.ok()) << status;
      }
    }
  }
  ASSERT_TRUE(session->Barrier().ok());
  EXPECT_EQ(session->buffered_updates(), 0);
  ASSERT_TRUE(session->Close().ok());
  CheckCounts(sent_);
}

TEST_F(ExchangeTest, AMessageThatIsRefusedAsAWholeCountsNothing) {
  auto session = *client_->OpenSession("test");
  std::vector<LayerSums> ignored(kLayers);
  const auto one = StepOf(&random_, &ignored).front();
  for (const size_t entries : {size_t{0}, size_t{1025}}) {
    const auto answers = session->ExchangeMoments(
        std::vector<v1::MergeMomentsRequest>(entries, one));
    EXPECT_TRUE(absl::IsInvalidArgument(answers.status())) << answers.status();
  }
  CheckCounts(sent_);
  ASSERT_TRUE(session->ExchangeMoments(Step()).ok());
  ASSERT_TRUE(session->Close().ok());
  CheckCounts(sent_);
}

TEST_F(ExchangeTest, MoreThanTheBufferHoldsWaitsForTheDisk) {
  ClientOptions options;
  options.max_buffered_updates = 3;  // less than one message has
  auto client = *Client::Connect(server_.address(), options);
  auto session = *client->OpenSession("test");
  for (int i = 0; i < 10; ++i) {
    const auto answers = session->ExchangeMoments(Step());
    ASSERT_TRUE(answers.ok()) << answers.status();
    EXPECT_LE(session->buffered_updates(), kLayers + 1);
  }
  ASSERT_TRUE(session->Close().ok());
  CheckCounts(sent_);
}

TEST_F(ExchangeTest, WhatWasNotAnsweredInTimeIsDeliveredOnceByALaterCall) {
  ClientOptions options;
  options.request_timeout = std::chrono::milliseconds(300);
  auto hasty = (*Client::Connect(server_.address(), options));
  auto session = *hasty->OpenSession("test");
  ASSERT_TRUE(session->ExchangeMoments(Step()).ok());
  ASSERT_EQ(kill(server_.pid(), SIGSTOP), 0);
  siginfo_t stopped;  // its last thread may take a moment
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(server_.pid()), &stopped, WSTOPPED),
            0);
  const auto late = session->ExchangeMoments(Step());
  ASSERT_EQ(kill(server_.pid(), SIGCONT), 0);
  EXPECT_TRUE(absl::IsDeadlineExceeded(late.status())) << late.status();
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!session->Barrier().ok()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  }
  EXPECT_EQ(session->buffered_updates(), 0);
  CheckCounts(sent_);
  const auto answers = session->ExchangeMoments(Step());
  ASSERT_TRUE(answers.ok()) << answers.status();
  EXPECT_EQ(answers->front()->counted_rows(), 4);
  ASSERT_TRUE(session->Close().ok());
  CheckCounts(sent_);
}

TEST_F(ExchangeTest, ASecondHolderOfTheSessionFencesTheFirst) {
  auto first = *client_->OpenSession("test");
  ASSERT_TRUE(first->ExchangeMoments(Step()).ok());
  const auto token = first->Barrier();
  ASSERT_TRUE(token.ok()) << token.status();
  auto second = *client_->ResumeSession(*token);
  std::vector<LayerSums> ignored(kLayers);
  for (int i = 0; i < 2; ++i) {
    const auto answers = first->ExchangeMoments(StepOf(&random_, &ignored));
    EXPECT_EQ(ErrorReason(answers.status()), "EPOCH_FENCED");
  }
  ASSERT_TRUE(second->ExchangeMoments(Step()).ok());
  ASSERT_TRUE(second->Close().ok());
  CheckCounts(sent_);
}

// MergeMoments come between their exchanges.
TEST_F(ExchangeTest, ThreeKillsInTheMiddleOfFourJobsCountEveryStepOnce) {
  constexpr int kJobs = 4;
  constexpr int kSteps = kSanitized ? 200 : 1500;
  std::atomic<int> progress{0};
  std::atomic<uint64_t> replayed{0};
  std::vector<std::vector<LayerSums>> sent(kJobs,
                                           std::vector<LayerSums>(kLayers));
  const auto job = [&](int number) {
    auto client = *Client::Connect(server_.address());
    auto session = *client->OpenSession(absl::StrCat("job ", number));
    std::mt19937_64 random(static_cast<uint64_t>(number));
    auto& sums = sent[static_cast<size_t>(number)];
    for (int i = 0; i < kSteps; ++i) {
      const auto answers = session->ExchangeMoments(StepOf(&random, &sums));
      ASSERT_TRUE(answers.ok()) << answers.status();
      for (const auto& answer : *answers) {
        ASSERT_TRUE(answer.ok()) << answer.status();
      }
      if (i % 16 == 0) {
        const auto merged =
            session->MergeMoments(MergeOf(Layer(1), &random, &sums[1]));
        ASSERT_TRUE(merged.ok()) << merged.status();
      }
      ++progress;
    }
    replayed += session->replayed_updates();
    const absl::Status closed = session->Close();
    EXPECT_TRUE(closed.ok()) << closed;
  };
  std::vector<std::thread> threads;
  for (int number = 0; number < kJobs; ++number) {
    threads.emplace_back(job, number);
  }
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::minutes(4);
  for (const int quarter : {1, 2, 3}) {
    while (progress < kSteps * kJobs * quarter / 4 && !HasFailure()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
    server_.Kill();
    server_.Restart();
  }
  for (auto& thread : threads) thread.join();
  for (const auto& of_job : sent) {
    for (size_t i = 0; i < kLayers; ++i) sent_[i].Add(of_job[i]);
  }
  CheckCounts(sent_);
  std::printf("%d exchanges of %d layers, 3 kills: %lu merges sent again\n",
              kJobs * kSteps, kLayers + 1,
              static_cast<unsigned long>(replayed));
}

}  // namespace
}  // namespace streamnorm
