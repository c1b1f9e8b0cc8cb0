// Normalize, with commits, against an echo of the same messages by a server of
// the same API kind; and clients of one server beside one another.

#include <array>
#include <cstddef>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/output.h"
#include "tests/benchmarks/report.h"
#include "tests/benchmarks/sides.h"
#include "tests/benchmarks/suites.h"

namespace streamnorm {
namespace {

struct Cell {
  const char* name;
  Work work;
  double goal;
};

// Large messages are few: a stream of them has two in flight, as a training
// job that reads one while the next is on its way.
const std::array<Cell, 10> kCells = {{
    {"4x32, unary", {1, 0, 4, 32}, 0.95},
    {"4x32, 8 clients, unary", {8, 0, 4, 32}, 0.95},
    {"4x32, stream, 1 in flight", {1, 1, 4, 32}, 0.95},
    {"4x32, stream, 64 in flight", {1, 64, 4, 32}, 0.95},
    {"4x32, 8 streams, 64 in flight", {8, 64, 4, 32}, 0.95},
    {"4x1024, stream, 1 in flight", {1, 1, 4, 1024}, 0.93},
    {"4x1024, stream, 64 in flight", {1, 64, 4, 1024}, 0.93},
    {"256x1024, unary", {1, 0, 256, 1024}, 0.90},
    {"256x1024, stream, 2 in flight", {1, 2, 256, 1024}, 0.90},
    {"8192x1024, stream, 1 in flight", {1, 1, 8192, 1024}, 0.90},
}};
constexpr double kP99Goal = 1.25;

// Of one normalizer, and of one each.
constexpr Work kOnOne = {8, 64, 4, 32, 1};
constexpr Work kOnMany = {8, 64, 4, 32, 8};
constexpr double kOnOneGoal = 0.87;

constexpr Work kSmallStream = {1, 1, 4, 32};
constexpr Work kLargeStream = {1, 1, 8192, 1024};
constexpr double kBesideGoalUs = 1000;
constexpr double kBesideGoalRatio = 8;

// A dozen of the largest messages go through in a second: longer rounds, and
// fewer of them.
Timing TimingFor(const Work& work, const Timing& timing) {
  constexpr size_t kLarge = size_t{1} << 20;
  constexpr int kTimes = 3;
  if (work.rows * work.features < kLarge) return timing;
  Timing longer = timing;
  longer.rounds = (timing.rounds + kTimes - 1) / kTimes;
  longer.seconds *= kTimes;
  return longer;
}

absl::Status CompareWithEcho(const ServerProcess& server,
                             const ServerProcess& echo, const Timing& timing) {
  Report report("NORMALIZE / ECHO");
  for (const Cell& cell : kCells) {
    if (!absl::StrContains(cell.name, timing.only)) continue;
    Say(absl::StrCat("measuring ", cell.name, " ..."));
    const auto compared =
        Compare(SessionSide(server, cell.work), PlainSide(echo, cell.work),
                TimingFor(cell.work, timing));
    if (!compared.ok()) return compared.status();
    report.Add(cell.name, *compared, Goal::AtLeast(cell.goal),
               Goal::AtMost(kP99Goal));
  }
  return report.Print();
}

absl::Status CompareOneWithMany(const ServerProcess& server,
                                const Timing& timing) {
  Say("measuring 8 clients on one normalizer and on 8 ...");
  const auto compared = Compare(SessionSide(server, kOnOne),
                                SessionSide(server, kOnMany), timing);
  if (!compared.ok()) return compared.status();
  Report report("ON ONE NORMALIZER / ON 8");
  report.Add("4x32, 8 streams, 64 in flight", *compared,
             Goal::AtLeast(kOnOneGoal));
  return report.Print();
}

// A small stream beside another client's large one, and alone.
absl::StatusOr<Comparison> BesideALargeBatch(const Side& small,
                                             const Side& large,
                                             const Timing& timing) {
  Comparison compared;
  for (int round = 0; round < timing.rounds; ++round) {
    const auto alone = Measure(small, timing);
    if (!alone.ok()) return alone.status();
    const auto beside = Measure(small, timing, &large);
    if (!beside.ok()) return beside.status();
    compared.peers.push_back(*alone);
    compared.ours.push_back(*beside);
  }
  return compared;
}

// The echo tells what of it is the transport's and the machine's.
absl::Status CompareBesideALargeBatch(const ServerProcess& server,
                                      const ServerProcess& echo,
                                      const Timing& timing) {
  Say("measuring a small stream beside a large one ...");
  const auto ours =
      BesideALargeBatch(SessionSide(server, kSmallStream),
                        SessionSide(server, kLargeStream), timing);
  if (!ours.ok()) return ours.status();
  const auto echoed = BesideALargeBatch(PlainSide(echo, kSmallStream),
                                        PlainSide(echo, kLargeStream), timing);
  if (!echoed.ok()) return echoed.status();
  Report report("BESIDE ANOTHER'S 8192x1024 STREAM / ALONE");
  report.Add("4x32, stream, 1 in flight", *ours, {},
             Goal::AtMost(kBesideGoalRatio));
  report.Add("the same of the echo", *echoed, {});
  if (auto s = report.Print(); !s.ok()) return s;
  return PrintFact("p99 of that 4x32 stream beside the large one",
                   ours->Ours(&Measured::p99_us), "us",
                   Goal::AtMost(kBesideGoalUs));
}

}  // namespace

absl::Status RunTransportSuite(Peers* peers, const Timing& timing) {
  const auto server = peers->Server();
  if (!server.ok()) return server.status();
  const auto echo = peers->Echo();
  if (!echo.ok()) return echo.status();
  if (auto s = CompareWithEcho(**server, **echo, timing); !s.ok()) return s;
  if (!timing.only.empty()) return absl::OkStatus();
  if (auto s = CompareOneWithMany(**server, timing); !s.ok()) return s;
  return CompareBesideALargeBatch(**server, **echo, timing);
}

}  // namespace streamnorm
