#include "tests/benchmarks/measure.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "client/cli/bench_measure.h"

namespace streamnorm {
namespace {

// Clients at work, a thread each.
class Crew {
 public:
  explicit Crew(LoadClients clients)
      : clients_(std::move(clients)), ends_(clients_.size()) {}

  void Start(const LoadWindow& window) {
    for (size_t i = 0; i < clients_.size(); ++i) {
      threads_.emplace_back(
          [this, i, window] { ends_[i] = clients_[i]->Run(window); });
    }
  }

  absl::Status Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    for (const absl::Status& status : ends_) {
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  std::vector<double> TakeSortedLatencies() {
    std::vector<double> all;
    for (const auto& client : clients_) {
      const auto some = client->TakeLatencies();
      all.insert(all.end(), some.begin(), some.end());
    }
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  const LoadClients clients_;
  std::vector<absl::Status> ends_;
  std::vector<std::thread> threads_;
};

LoadClock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<LoadClock::duration>(
      std::chrono::duration<double>(seconds));
}

double MedianOf(const std::vector<Measured>& rounds, Field field) {
  std::vector<double> values;
  values.reserve(rounds.size());
  for (const Measured& measured : rounds) values.push_back(measured.*field);
  return Median(std::move(values));
}

}  // namespace

absl::StatusOr<Measured> Measure(const Side& side, const Timing& timing,
                                 const Side* beside) {
  auto clients = side.connect();
  if (!clients.ok()) return clients.status();
  Crew crew(*std::move(clients));
  clients = beside == nullptr ? LoadClients() : beside->connect();
  if (!clients.ok()) return clients.status();
  Crew others(*std::move(clients));
  LoadWindow window;
  window.begin = LoadClock::now() + Seconds(timing.warm_up_seconds);
  window.end = window.begin + Seconds(timing.seconds);
  crew.Start(window);
  others.Start(window);
  std::this_thread::sleep_until(window.begin);
  double client_us = -OwnCpuUs();
  double server_us = -CpuUsOf(side.server);
  std::this_thread::sleep_until(window.end);
  client_us += OwnCpuUs();
  server_us += CpuUsOf(side.server);
  const absl::Status ended = crew.Join();
  if (auto s = others.Join(); !s.ok()) return s;
  if (!ended.ok()) return ended;
  const auto sorted = crew.TakeSortedLatencies();
  const auto answers = static_cast<double>(sorted.size());
  const double messages = std::max(answers, 1.0);
  return Measured{answers / timing.seconds, Quantile(sorted, 0.5),
                  Quantile(sorted, 0.99), client_us / messages,
                  server_us / messages};
}

double Comparison::Ours(Field field) const { return MedianOf(ours, field); }
double Comparison::Peers(Field field) const { return MedianOf(peers, field); }

double Comparison::Ratio(Field field) const {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(ours.size(), peers.size()); ++i) {
    ratios.push_back(ours[i].*field / (peers[i].*field));
  }
  return Median(std::move(ratios));
}

absl::StatusOr<Comparison> Compare(const Side& ours, const Side& peer,
                                   const Timing& timing) {
  Comparison comparison;
  for (int round = 0; round < timing.rounds; ++round) {
    auto measured = Measure(peer, timing);
    if (!measured.ok()) return measured.status();
    comparison.peers.push_back(*measured);
    measured = Measure(ours, timing);
    if (!measured.ok()) return measured.status();
    comparison.ours.push_back(*measured);
  }
  return comparison;
}

}  // namespace streamnorm
