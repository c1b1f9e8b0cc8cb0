// streamnorm-transport-benchmark: Normalize, with commits, against an echo of
// the same messages by a server of the same API kind (./run bench transport).

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/bench_measure.h"
#include "client/cli/output.h"
#include "client/cli/program_files.h"
#include "client/cli/server_process.h"
#include "tests/benchmarks/raw_client.h"

namespace streamnorm {
namespace {

using Clock = RawClient::Clock;

struct Options {
  int rounds = 7;
  double seconds = 1;
  std::string directory;
};

// What one group of clients does.
struct Work {
  const char* name;
  size_t clients;
  size_t in_flight;  // 0 = unary calls
  size_t rows;
  size_t features;
  size_t normalizers = 1;
};

constexpr std::array<Work, 10> kWorks = {{
    {"4x32, unary", 1, 0, 4, 32},
    {"4x32, 8 clients, unary", 8, 0, 4, 32},
    {"4x32, stream, 1 in flight", 1, 1, 4, 32},
    {"4x32, stream, 64 in flight", 1, 64, 4, 32},
    {"4x32, 8 streams, 64 in flight", 8, 64, 4, 32},
    {"4x1024, stream, 1 in flight", 1, 1, 4, 1024},
    {"4x1024, stream, 64 in flight", 1, 64, 4, 1024},
    {"256x1024, unary", 1, 0, 256, 1024},
    {"256x1024, stream, 2 in flight", 1, 2, 256, 1024},
    {"8192x1024, stream, 1 in flight", 1, 1, 8192, 1024},
}};

// One measurement.
struct Result {
  double messages_per_s = 0;
  double p50_us = 0;
  double p99_us = 0;
  double client_cpu_us = 0;  // per message
  double server_cpu_us = 0;
};

using Clients = std::vector<std::unique_ptr<RawClient>>;

absl::StatusOr<Clients> MakeClients(const std::string& address, bool echo,
                                    const Work& work) {
  Clients clients;
  for (size_t i = 0; i < work.clients; ++i) {
    const std::string id =
        absl::StrCat("n", work.features, "-", i % work.normalizers);
    if (echo) {
      clients.push_back(
          RawClient::ForEcho(address, id, work.rows, work.features));
      continue;
    }
    auto client = RawClient::ForServer(address, id, work.rows, work.features);
    if (!client.ok()) return client.status();
    clients.push_back(*std::move(client));
  }
  return clients;
}

// Starts the clients' threads.
std::vector<std::thread> StartThreads(const Clients& clients, const Work& work,
                                      Clock::time_point begin,
                                      Clock::time_point end,
                                      std::vector<absl::Status>* ends) {
  ends->resize(clients.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < clients.size(); ++i) {
    threads.emplace_back([&clients, i, work, begin, end, ends] {
      (*ends)[i] = work.in_flight == 0
                       ? clients[i]->Unary(begin, end)
                       : clients[i]->Stream(work.in_flight, begin, end);
    });
  }
  return threads;
}

Result Summarize(const Clients& clients, double seconds, double client_us,
                 double server_us) {
  std::vector<double> all;
  for (const auto& client : clients) {
    const auto latencies = client->TakeLatencies();
    all.insert(all.end(), latencies.begin(), latencies.end());
  }
  std::sort(all.begin(), all.end());
  const auto messages = static_cast<double>(std::max<size_t>(1, all.size()));
  return {static_cast<double>(all.size()) / seconds, Quantile(all, 0.5),
          Quantile(all, 0.99), client_us / messages, server_us / messages};
}

class Benchmark {
 public:
  explicit Benchmark(const Options& options)
      : options_(options), scratch_(options.directory) {}

  absl::Status Run();

 private:
  using Rounds = std::vector<Result>;

  absl::StatusOr<std::unique_ptr<ServerProcess>> Start(
      const std::string& binary, const std::string& name) const;
  absl::StatusOr<Result> Measure(const ServerProcess& server, bool echo,
                                 const Work& work,
                                 const Work* beside = nullptr) const;
  absl::Status CompareWithEcho();
  absl::Status CompareOneWithMany();
  absl::Status BesideALargeBatch();

  const Options& options_;
  const ScratchDirectory scratch_;
  std::unique_ptr<ServerProcess> echo_, server_;
};

absl::StatusOr<std::unique_ptr<ServerProcess>> Benchmark::Start(
    const std::string& binary, const std::string& name) const {
  ServerProcessOptions options;
  options.binary = binary;
  options.listen = absl::StrCat("unix:", scratch_.path(), "/", name, ".sock");
  options.data_dir = absl::StrCat(scratch_.path(), "/", name);
  options.log_path = options.data_dir + ".log";
  return ServerProcess::Start(options);
}

// `beside` runs at the same time and is not measured.
absl::StatusOr<Result> Benchmark::Measure(const ServerProcess& server,
                                          bool echo, const Work& work,
                                          const Work* beside) const {
  constexpr std::chrono::milliseconds kWarmUp{200};
  const auto clients = MakeClients(server.address(), echo, work);
  if (!clients.ok()) return clients.status();
  absl::StatusOr<Clients> others = Clients();
  if (beside != nullptr) {
    others = MakeClients(server.address(), echo, *beside);
    if (!others.ok()) return others.status();
  }
  const auto begin = Clock::now() + kWarmUp;
  const auto end = begin + std::chrono::microseconds(
                               static_cast<int64_t>(options_.seconds * 1e6));
  std::vector<absl::Status> ends, others_ends;
  auto threads = StartThreads(*clients, work, begin, end, &ends);
  std::vector<std::thread> other_threads;
  if (beside != nullptr) {
    other_threads = StartThreads(*others, *beside, begin, end, &others_ends);
  }
  std::this_thread::sleep_until(begin);
  double client_us = -OwnCpuUs();
  double server_us = -CpuUsOf(server.pid());
  std::this_thread::sleep_until(end);
  client_us += OwnCpuUs();
  server_us += CpuUsOf(server.pid());
  for (auto* group : {&threads, &other_threads}) {
    for (std::thread& thread : *group) thread.join();
  }
  for (const absl::Status& status : ends) {
    if (!status.ok()) return status;
  }
  return Summarize(*clients, options_.seconds, client_us, server_us);
}

template <typename Field>
double MedianOf(const std::vector<Result>& rounds, Field field) {
  std::vector<double> values;
  for (const Result& result : rounds) values.push_back(result.*field);
  return Median(std::move(values));
}

// Of `a` over `b`, round by round.
template <typename Field>
double RatioOf(const std::vector<Result>& a, const std::vector<Result>& b,
               Field field) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.size(); ++i) {
    ratios.push_back(a[i].*field / (b[i].*field));
  }
  return Median(std::move(ratios));
}

std::string Number(double value) { return absl::StrFormat("%.0f", value); }
std::string Tenths(double value) { return absl::StrFormat("%.1f", value); }
std::string Hundredths(double value) { return absl::StrFormat("%.2f", value); }

absl::Status Benchmark::CompareWithEcho() {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"NORMALIZE"},
               {"ECHO msg/s", kRight},
               {"OURS", kRight},
               {"RATIO", kRight},
               {"p50 us", kRight},
               {"p99 us", kRight},
               {"p99 RATIO", kRight},
               {"CPU us, client", kRight},
               {"server", kRight},
               {"echo", kRight}});
  for (const Work& work : kWorks) {
    Say(absl::StrCat("measuring ", work.name, " ..."));
    Rounds echo, ours;
    for (int round = 0; round < options_.rounds; ++round) {
      const auto e = Measure(*echo_, true, work);
      if (!e.ok()) return e.status();
      const auto o = Measure(*server_, false, work);
      if (!o.ok()) return o.status();
      echo.push_back(*e);
      ours.push_back(*o);
    }
    table.AddRow({work.name, Number(MedianOf(echo, &Result::messages_per_s)),
                  Number(MedianOf(ours, &Result::messages_per_s)),
                  Hundredths(RatioOf(ours, echo, &Result::messages_per_s)),
                  Number(MedianOf(ours, &Result::p50_us)),
                  Number(MedianOf(ours, &Result::p99_us)),
                  Hundredths(RatioOf(ours, echo, &Result::p99_us)),
                  Tenths(MedianOf(ours, &Result::client_cpu_us)),
                  Tenths(MedianOf(ours, &Result::server_cpu_us)),
                  Tenths(MedianOf(echo, &Result::server_cpu_us))});
  }
  return PrintTable(table);
}

absl::Status Benchmark::CompareOneWithMany() {
  constexpr Work kOne = {"", 8, 64, 4, 32};
  constexpr Work kMany = {"", 8, 64, 4, 32, 8};
  Say("measuring 8 clients on one normalizer and on 8 ...");
  Rounds one, many;
  for (int round = 0; round < options_.rounds; ++round) {
    const auto o = Measure(*server_, false, kOne);
    if (!o.ok()) return o.status();
    const auto m = Measure(*server_, false, kMany);
    if (!m.ok()) return m.status();
    one.push_back(*o);
    many.push_back(*m);
  }
  return Print(absl::StrFormat(
      "\n8 clients on one normalizer / on 8 normalizers (4x32): %.2f\n",
      RatioOf(one, many, &Result::messages_per_s)));
}

absl::Status Benchmark::BesideALargeBatch() {
  constexpr Work kSmall = {"", 1, 1, 4, 32};
  constexpr Work kLarge = {"", 1, 1, 8192, 1024};
  Say("measuring a small stream beside a large one ...");
  Rounds alone, beside;
  for (int round = 0; round < options_.rounds; ++round) {
    const auto a = Measure(*server_, false, kSmall);
    if (!a.ok()) return a.status();
    const auto b = Measure(*server_, false, kSmall, &kLarge);
    if (!b.ok()) return b.status();
    alone.push_back(*a);
    beside.push_back(*b);
  }
  return Print(absl::StrFormat(
      "p99 of a 4x32 stream beside another client's 8192x1024 stream: %.0f us, "
      "%.1fx its own p99 alone (%.0f us)\n",
      MedianOf(beside, &Result::p99_us),
      RatioOf(beside, alone, &Result::p99_us),
      MedianOf(alone, &Result::p99_us)));
}

absl::Status Benchmark::Run() {
  if (scratch_.path().empty()) return absl::UnknownError("no directory");
  const auto echo = FindProgram("tests/benchmarks", "streamnorm-echo");
  if (!echo.ok()) return echo.status();
  const auto server = FindProgram("../server", "streamnorm-server");
  if (!server.ok()) return server.status();
  auto started = Start(*echo, "echo");
  if (!started.ok()) return started.status();
  echo_ = *std::move(started);
  started = Start(*server, "server");
  if (!started.ok()) return started.status();
  server_ = *std::move(started);
  for (const auto part :
       {&Benchmark::CompareWithEcho, &Benchmark::CompareOneWithMany,
        &Benchmark::BesideALargeBatch}) {
    if (auto s = (this->*part)(); !s.ok()) return s;
    static_cast<void>(FlushStdout());
  }
  return absl::OkStatus();
}

}  // namespace

int Main(int argc, char** argv) {
  CLI::App app("Normalize against a bare echo of the same messages");
  Options options;
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.05, 600.0));
  app.add_option("--directory", options.directory);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = Benchmark(options).Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace streamnorm

int main(int argc, char** argv) { return streamnorm::Main(argc, argv); }
