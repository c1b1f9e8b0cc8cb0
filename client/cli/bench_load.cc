#include "client/cli/bench_load.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/bench_measure.h"
#include "client/streamnorm_client.h"

namespace streamnorm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration;

double Microseconds(Clock::duration time) {
  return duration<double, std::micro>(time).count();
}

// One training job. It runs on a thread of its own; the results are read after
// that has ended.
class Worker {
 public:
  Worker(std::string address, const Load& load, size_t number)
      : address_(std::move(address)), load_(load), number_(number) {}

  absl::Status Connect();
  absl::Status Run(Clock::time_point begin, Clock::time_point end);

  const std::vector<double>& latencies_us() const { return latencies_us_; }

 private:
  absl::Status SubmitOne();
  absl::Status ReceiveOne(Clock::time_point begin, Clock::time_point end);

  const std::string address_;
  const Load load_;
  const size_t number_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<ClientSession> session_;
  v1::NormalizeRequest request_;
  std::deque<Clock::time_point> sent_;
  std::vector<double> latencies_us_;
};

absl::Status Worker::Connect() {
  // Not all that is compared has a lane.
  ClientOptions options;
  options.use_lane = false;
  auto client = Client::Connect(address_, options);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  auto session = client_->OpenSession(absl::StrCat("bench ", number_));
  if (!session.ok()) return session.status();
  session_ = *std::move(session);
  std::mt19937 random(static_cast<unsigned>(number_));
  std::normal_distribution<float> normal(3, 2);
  std::vector<float> values(load_.rows * load_.features);
  for (float& value : values) value = normal(random);
  request_ = MakeNormalizeRequest(
      LoadNormalizerId(load_.features, number_ % load_.normalizers),
      RowsOf(values, load_.features), v1::UPDATE_THEN_NORMALIZE);
  request_.set_wait_durable(load_.wait_durable);
  return absl::OkStatus();
}

absl::Status Worker::SubmitOne() {
  sent_.push_back(Clock::now());
  return session_->Submit(request_);
}

absl::Status Worker::ReceiveOne(Clock::time_point begin,
                                Clock::time_point end) {
  const auto answer = session_->Receive();
  if (!answer.ok()) return answer.status();
  const auto now = Clock::now();
  if (now >= begin && now < end) {
    latencies_us_.push_back(Microseconds(now - sent_.front()));
  }
  sent_.pop_front();
  return absl::OkStatus();
}

absl::Status Worker::Run(Clock::time_point begin, Clock::time_point end) {
  while (Clock::now() < end) {
    while (session_->in_flight() < load_.in_flight) {
      if (auto s = SubmitOne(); !s.ok()) return s;
    }
    if (auto s = ReceiveOne(begin, end); !s.ok()) return s;
  }
  while (session_->in_flight() > 0) {
    if (auto s = ReceiveOne(begin, end); !s.ok()) return s;
  }
  return session_->Close();
}

LoadResult Summarize(const std::vector<std::unique_ptr<Worker>>& workers,
                     const LoadTime& time, double client_us, double server_us) {
  std::vector<double> all;
  for (const auto& worker : workers) {
    all.insert(all.end(), worker->latencies_us().begin(),
               worker->latencies_us().end());
  }
  std::sort(all.begin(), all.end());
  const auto messages = static_cast<double>(std::max<size_t>(1, all.size()));
  LoadResult result;
  result.messages_per_s =
      static_cast<double>(all.size()) / duration<double>(time.measured).count();
  result.p50_us = Quantile(all, 0.5);
  result.p99_us = Quantile(all, 0.99);
  result.client_cpu_us = client_us / messages;
  result.server_cpu_us = server_us / messages;
  return result;
}

}  // namespace

std::string LoadNormalizerId(size_t features, size_t number) {
  return absl::StrCat("bench-", features, "-", number);
}

absl::Status PrepareLoad(const std::string& address, const Load& load) {
  const auto client = Client::Connect(address);
  if (!client.ok()) return client.status();
  for (size_t i = 0; i < load.normalizers; ++i) {
    const auto made =
        (*client)->GetOrCreateNormalizer(LoadNormalizerId(load.features, i),
                                         static_cast<int64_t>(load.features));
    if (!made.ok()) return made.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadResult> RunLoad(const std::string& address, pid_t server,
                                   const Load& load, const LoadTime& time) {
  std::vector<std::unique_ptr<Worker>> workers;
  for (size_t i = 0; i < load.clients; ++i) {
    workers.push_back(std::make_unique<Worker>(address, load, i));
    if (auto s = workers.back()->Connect(); !s.ok()) return s;
  }
  const auto begin = Clock::now() + time.warm_up;
  const auto end = begin + time.measured;
  std::vector<absl::Status> ends(load.clients);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < load.clients; ++i) {
    threads.emplace_back([&, i] { ends[i] = workers[i]->Run(begin, end); });
  }
  std::this_thread::sleep_until(begin);
  double client_us = -OwnCpuUs();
  double server_us = -CpuUsOf(server);
  std::this_thread::sleep_until(end);
  client_us += OwnCpuUs();
  server_us += CpuUsOf(server);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : ends) {
    if (!status.ok()) return status;
  }
  return Summarize(workers, time, client_us, server_us);
}

}  // namespace streamnorm
