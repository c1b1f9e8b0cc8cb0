// The lane against gRPC on the same unix socket, and against a bare socket.

#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/output.h"
#include "tests/benchmarks/report.h"
#include "tests/benchmarks/sides.h"
#include "tests/benchmarks/socket_client.h"
#include "tests/benchmarks/suites.h"

namespace streamnorm {
namespace {

constexpr Work kUnary = {1, 0, 4, 32};
constexpr Work kStream = {1, 1, 4, 32};

struct Row {
  std::string name;
  Side ours;
  Side peer;
  Goal goal;
};

}  // namespace

absl::Status RunLaneSuite(Peers* peers, const Timing& timing) {
  const auto server = peers->Server();
  if (!server.ok()) return server.status();
  const auto echo = peers->SocketEcho();
  if (!echo.ok()) return echo.status();
  const Side lane = LibrarySide(**server, kStream, true);
  const Side unary = SessionSide(**server, kUnary);
  const Side stream = SessionSide(**server, kStream);
  const Side socket = SocketEchoSide(**echo, kStream);
  const std::array<Row, 6> rows = {{
      {"4x32, lane / gRPC unary", lane, unary, Goal::AtLeast(2.5)},
      {"4x32, lane / gRPC stream", lane, stream, {}},
      {"4x32, lane / gRPC stream, both by the library",
       lane,
       LibrarySide(**server, kStream, false),
       {}},
      {"4x32, lane / socket echo", lane, socket, Goal::AtLeast(0.85)},
      {"4x32, gRPC unary / socket echo", unary, socket, {}},
      {"4x32, gRPC stream / socket echo", stream, socket, {}},
  }};
  Report report("LANE, 1 CLIENT, 1 IN FLIGHT");
  for (const Row& row : rows) {
    Say(absl::StrCat("measuring ", row.name, " ..."));
    const auto compared = Compare(row.ours, row.peer, timing);
    if (!compared.ok()) return compared.status();
    report.Add(row.name, *compared, row.goal);
  }
  return report.Print();
}

}  // namespace streamnorm
