// How cost grows, a point a line: {"curve", "series", "x", "y"}. What is drawn
// from it, and the units, are in scale_curves.py.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/bench_measure.h"
#include "client/cli/output.h"
#include "client/streamnorm_client.h"
#include "tests/benchmarks/bulk.h"
#include "tests/benchmarks/raw_client.h"
#include "tests/benchmarks/report.h"
#include "tests/benchmarks/sides.h"
#include "tests/benchmarks/suites.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

constexpr std::array<size_t, 8> kRows = {1, 4, 16, 64, 256, 1024, 4096, 16384};
constexpr std::array<size_t, 8> kFeatures = {8,    32,   128,   512,
                                             2048, 8192, 32768, 131072};
constexpr std::array<size_t, 7> kClients = {1, 2, 4, 8, 16, 32, 64};
constexpr std::array<size_t, 6> kNormalizers = {1,     10,     100,
                                                1'000, 10'000, 100'000};
constexpr std::array<size_t, 4> kSessions = {10, 100, 1'000, 9'000};
constexpr int kStarts = 3;
constexpr double kMiB = 1 << 20;

// Shorter measurements are no measurements: they only show that it runs.
constexpr double kLeastSeconds = 0.05;
constexpr size_t kMostIfShorter = 10;

bool IsLeftOut(const Timing& timing, size_t size) {
  return timing.seconds < kLeastSeconds && size > kMostIfShorter;
}

absl::Status Point(const std::string& curve, const std::string& series,
                   double x, double y) {
  const auto s = Print(
      absl::StrFormat(R"({"curve": "%s", "series": "%s", "x": %g, "y": %g})"
                      "\n",
                      curve, series, x, y));
  return s.ok() ? FlushStdout() : s;
}

absl::StatusOr<Comparison> Alone(const Side& side, const Timing& timing) {
  Comparison rounds;
  for (int i = 0; i < timing.rounds; ++i) {
    const auto measured = Measure(side, timing);
    if (!measured.ok()) return measured.status();
    rounds.ours.push_back(*measured);
  }
  return rounds;
}

absl::Status BatchPoint(Peers* peers, const Timing& timing,
                        const std::string& curve, double x, const Work& work) {
  Say(absl::StrCat("measuring ", work.rows, "x", work.features, " ..."));
  const auto server = peers->Server();
  if (!server.ok()) return server.status();
  const auto echo = peers->Echo();
  if (!echo.ok()) return echo.status();
  const auto compared =
      Compare(SessionSide(**server, work), PlainSide(**echo, work), timing);
  if (!compared.ok()) return compared.status();
  const Field time = &Measured::p50_us;
  const Field cpu = &Measured::server_cpu_us;
  for (const auto& [series, y] :
       {std::pair("StreamNorm, p50 until the answer", compared->Ours(time)),
        std::pair("echo, p50 until the answer", compared->Peers(time)),
        std::pair("StreamNorm, CPU of the server", compared->Ours(cpu)),
        std::pair("echo, CPU of the server", compared->Peers(cpu))}) {
    if (auto s = Point(curve, series, x, y); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status Batches(Peers* peers, const Timing& timing) {
  for (const size_t rows : kRows) {
    if (IsLeftOut(timing, rows)) break;
    auto s = BatchPoint(peers, timing, "rows", static_cast<double>(rows),
                        {1, 1, rows, 32});
    if (!s.ok()) return s;
  }
  for (const size_t features : kFeatures) {
    if (IsLeftOut(timing, features)) break;
    auto s = BatchPoint(peers, timing, "features",
                        static_cast<double>(features), {1, 1, 4, features});
    if (!s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status Clients(Peers* peers, const Timing& timing) {
  const auto server = peers->Server();
  if (!server.ok()) return server.status();
  for (const size_t clients : kClients) {
    if (IsLeftOut(timing, clients)) break;
    Say(absl::StrCat("measuring ", clients, " clients ..."));
    const auto compared =
        Compare(SessionSide(**server, {clients, 1, 4, 32, 1}),
                SessionSide(**server, {clients, 1, 4, 32, clients}), timing);
    if (!compared.ok()) return compared.status();
    const auto x = static_cast<double>(clients);
    const Field rate = &Measured::messages_per_s;
    auto s = Point("clients", "on one normalizer", x, compared->Ours(rate));
    if (s.ok()) {
      s = Point("clients", "on one each", x, compared->Peers(rate));
    }
    if (!s.ok()) return s;
  }
  return absl::OkStatus();
}

double DirectoryBytes(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry :
       fs::recursive_directory_iterator(directory, ignored)) {
    if (entry.is_regular_file(ignored)) bytes += entry.file_size(ignored);
  }
  return static_cast<double>(bytes);
}

// Seconds of a start until a request is answered, of the server with the data
// of `name`.
absl::StatusOr<double> TimeStart(const Peers& peers, const std::string& name,
                                 size_t normalizers) {
  const auto begin = LoadClock::now();
  auto server = peers.StartServer(name);
  if (!server.ok()) return server.status();
  const auto client = Client::Connect((*server)->address());
  if (!client.ok()) return client.status();
  const auto got =
      (*client)->GetNormalizer(absl::StrCat("many-", normalizers - 1));
  if (!got.ok()) return got.status();
  const std::chrono::duration<double> took = LoadClock::now() - begin;
  const auto stopped = (*server)->Stop(std::chrono::seconds(30));
  if (!stopped.ok()) return stopped;
  return took.count();
}

absl::Status StartPoint(const Peers& peers, const std::string& name,
                        size_t normalizers) {
  std::vector<double> seconds;
  for (int i = 0; i < kStarts; ++i) {
    const auto took = TimeStart(peers, name, normalizers);
    if (!took.ok()) return took.status();
    seconds.push_back(*took);
  }
  return Point("start", absl::StrCat(normalizers),
               DirectoryBytes(peers.DataDirectory(name)) / kMiB,
               Median(std::move(seconds)));
}

// Each number of normalizers on the data of the one before.
absl::Status Normalizers(Peers* peers, const Timing& timing) {
  std::vector<RawTarget> targets;
  for (const size_t count : kNormalizers) {
    if (IsLeftOut(timing, count)) break;
    Say(absl::StrCat("measuring ", count, " normalizers ..."));
    auto server = peers->StartServer("grown");
    if (!server.ok()) return server.status();
    const auto channel = ConnectRaw((*server)->address());
    const auto more =
        CreateMany(channel, targets.size(), count - targets.size());
    if (!more.ok()) return more.status();
    targets.insert(targets.end(), more->begin(), more->end());
    const auto x = static_cast<double>(count);
    auto s = Point("memory", "normalizers", x,
                   ResidentBytes((*server)->pid()) / kMiB);
    if (!s.ok()) return s;
    for (const bool in_turn : {false, true}) {
      const auto messages = InTurnMessages(
          channel, in_turn ? targets : std::vector<RawTarget>{targets.back()});
      if (!messages.ok()) return messages.status();
      const auto rounds =
          Alone(InTurnSide(**server, channel, *messages), timing);
      if (!rounds.ok()) return rounds.status();
      s = Point("normalizers", in_turn ? "each in turn" : "one of them", x,
                rounds->Ours(&Measured::p50_us));
      if (!s.ok()) return s;
    }
    s = (*server)->Stop(std::chrono::seconds(30));
    if (s.ok()) s = StartPoint(*peers, "grown", count);
    if (!s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status Sessions(Peers* peers, const Timing& timing) {
  const auto server = peers->StartServer("sessions");
  if (!server.ok()) return server.status();
  const auto channel = ConnectRaw((*server)->address());
  size_t open = 0;
  for (const size_t sessions : kSessions) {
    if (IsLeftOut(timing, sessions)) break;
    Say(absl::StrCat("measuring ", sessions, " sessions ..."));
    if (auto s = OpenManySessions(channel, sessions - open); !s.ok()) return s;
    open = sessions;
    const auto x = static_cast<double>(sessions);
    auto s =
        Point("memory", "sessions", x, ResidentBytes((*server)->pid()) / kMiB);
    if (!s.ok()) return s;
    const auto rounds = Alone(SessionSide(**server, {1, 1, 4, 32}), timing);
    if (!rounds.ok()) return rounds.status();
    s = Point("sessions", "StreamNorm", x, rounds->Ours(&Measured::p50_us));
    if (!s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunScaleSuite(Peers* peers, const Timing& timing) {
  for (const auto part : {Batches, Clients, Normalizers, Sessions}) {
    if (auto s = part(peers, timing); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace streamnorm
