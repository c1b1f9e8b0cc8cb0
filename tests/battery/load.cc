#include "tests/battery/load.h"

#include <gtest/gtest.h>

#include <span>

#include "tests/battery/battery.h"

namespace streamnorm {
namespace {

using std::chrono::steady_clock;

constexpr int kNormalizers = 3;
constexpr size_t kInFlight = 16;

// Every other one goes over the lane.
ClientOptions SessionOptions(bool use_lane) {
  ClientOptions options;
  options.use_lane = use_lane;
  options.request_timeout = LongestAbsence();
  return options;
}

}  // namespace

Load::Load(const std::string& address, const Options& options)
    : address_(address),
      options_(options),
      results_(static_cast<size_t>(options.raw_clients + options.sessions)) {
  client_ = *Client::Connect(address_);
  for (int i = 0; i < kNormalizers; ++i) {
    ids_.push_back("counted-" + std::to_string(i));
    const auto made =
        client_->GetOrCreateNormalizer(ids_.back(), kIntegerFeatures);
    EXPECT_TRUE(made.ok()) << made.status();
  }
  threads_.reserve(results_.size());
  for (size_t i = 0; i < results_.size(); ++i) {
    const uint64_t seed = options_.seed * 1000 + i;
    const bool raw = i < static_cast<size_t>(options_.raw_clients);
    threads_.emplace_back(raw ? &Load::RunRaw : &Load::RunSession, this, seed,
                          &results_[i]);
  }
}

Load::~Load() {
  stop_ = abandoned_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Load::RunRaw(uint64_t seed, Result* result) {
  std::vector<std::string> names;
  names.reserve(ids_.size());
  for (const std::string& id : ids_) names.push_back("normalizers/" + id);
  RawClient client(address_, seed, names, &abandoned_);
  for (uint64_t before = 0; !stop_ && client.complaints().empty();) {
    client.Step();
    answered_ += client.answered() - before;
    before = client.answered();
  }
  if (client.complaints().empty()) client.Finish();
  complained_ = complained_ || !client.complaints().empty();
  *result = {client.sent(), client.resent(), client.repeated(),
             client.complaints()};
}

void Load::RunSession(uint64_t seed, Result* result) {
  std::mt19937_64 random(seed);
  auto client = Client::Connect(address_, SessionOptions(seed % 2 == 0));
  auto session =
      client.ok()
          ? (*client)->OpenSession("battery")
          : absl::StatusOr<std::unique_ptr<ClientSession>>(client.status());
  absl::Status status = session.status();
  const auto receive = [&] {
    status = (*session)->Receive().status();
    ++answered_;
  };
  while (status.ok() && !stop_) {
    const std::string& id = ids_[random() % ids_.size()];
    const auto rows = MakeIntegerRows(1 + random() % 3, &random);
    result->sent["normalizers/" + id].Add(rows);
    status = (*session)->Submit(MakeNormalizeRequest(
        id, RowsOf(std::span<const double>(rows), kIntegerFeatures),
        v1::UPDATE_ONLY));
    if (status.ok() && (*session)->in_flight() >= kInFlight) receive();
  }
  while (status.ok() && (*session)->in_flight() > 0) receive();
  if (status.ok()) status = (*session)->Close();
  if (!status.ok()) {
    result->complaints.push_back(status.ToString());
    complained_ = true;
  }
  if (session.ok()) result->resent = (*session)->replayed_updates();
}

bool Load::WaitForAnswers(uint64_t more,
                          std::chrono::milliseconds patience) const {
  const uint64_t wanted = answered_ + more;
  const auto deadline = steady_clock::now() + patience;
  while (answered_ < wanted && !complained_ && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return answered_ >= wanted;
}

void Load::FinishAndCheck() {
  stop_ = true;
  if (complained_) abandoned_ = true;
  for (std::thread& thread : threads_) thread.join();
  SumsByName sent;
  for (const Result& result : results_) {
    for (const auto& [name, sums] : result.sent) {
      rows_ += static_cast<uint64_t>(sums.rows);
    }
    for (const std::string& complaint : result.complaints) {
      ADD_FAILURE() << complaint;
    }
    for (const auto& [name, sums] : result.sent) sent[name].Add(sums);
    resent_ += result.resent;
    repeated_ += result.repeated;
  }
  Check(sent);
  const auto info = client_->GetServerInfo();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->quarantined_size(), 0);
}

void Load::Check(const SumsByName& sent) const {
  for (const auto& [name, sums] : sent) {
    v1::GetStatisticsRequest request;
    request.set_name(name);
    const auto statistics = client_->GetStatistics(request);
    ASSERT_TRUE(statistics.ok()) << statistics.status();
    EXPECT_EQ(statistics->row_count(), static_cast<uint64_t>(sums.rows))
        << name
        << (statistics->row_count() < static_cast<uint64_t>(sums.rows)
                ? ": lost"
                : ": counted twice");
    if (sums.rows == 0) continue;
    for (size_t j = 0; j < kIntegerFeatures; ++j) {
      const auto& feature = statistics->features(static_cast<int>(j));
      const double sd = std::sqrt(feature.variance());
      EXPECT_LE(std::fabs(static_cast<double>(feature.mean() - sums.Mean(j))),
                1e-12 * sd)
          << name;
      EXPECT_GE(CorrectDigits(feature.variance(), sums.Variance(j)), 12)
          << name;
    }
  }
}

}  // namespace streamnorm
