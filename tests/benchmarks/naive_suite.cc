// Against naive_server.py: the same client, the same messages.

#include <array>

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
  double goal;  // 0 = none
};

constexpr std::array<Cell, 4> kCells = {{
    {"4x32, unary, 1 client", {1, 0, 4, 32}, 3},
    {"4x32, unary, 8 clients", {8, 0, 4, 32}, 10},
    {"4x32, 8 streams, 64 in flight", {8, 64, 4, 32}, 25},
    {"256x1024, stream, 2 in flight", {1, 2, 256, 1024}, 0},
}};

}  // namespace

absl::Status RunNaiveSuite(Peers* peers, const Timing& timing) {
  const auto server = peers->Server();
  if (!server.ok()) return server.status();
  const auto naive = peers->Naive();
  if (!naive.ok()) return naive.status();
  Report report("STREAMNORM / GRPCIO + NUMPY");
  for (const Cell& cell : kCells) {
    Say(absl::StrCat("measuring ", cell.name, " ..."));
    const auto compared = Compare(SessionSide(**server, cell.work),
                                  PlainSide(**naive, cell.work), timing);
    if (!compared.ok()) return compared.status();
    report.Add(cell.name, *compared,
               cell.goal == 0 ? Goal() : Goal::AtLeast(cell.goal));
  }
  return report.Print();
}

}  // namespace streamnorm
