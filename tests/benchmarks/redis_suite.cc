// Against Redis. It keeps nothing on disk and counts a retry twice; StreamNorm
// commits and counts exactly once.

#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/output.h"
#include "tests/benchmarks/redis_client.h"
#include "tests/benchmarks/report.h"
#include "tests/benchmarks/sides.h"
#include "tests/benchmarks/suites.h"

namespace streamnorm {
namespace {

enum class Form { kScript, kWatch };
enum class Way { kGrpc, kLane };

struct Cell {
  const char* name;
  Way way;
  Form form;
  Work ours;
  Work theirs;
  double goal;  // 0 = none
};

// One in flight is one in flight for both. A WATCH works on a key that nobody
// else has: otherwise it would try again and again.
const std::array<Cell, 10> kCells = {{
    {"4x32, 1 client, unary / Lua",
     Way::kGrpc,
     Form::kScript,
     {1, 0, 4, 32},
     {1, 1, 4, 32},
     0},
    {"4x32, 1 client, stream / Lua",
     Way::kGrpc,
     Form::kScript,
     {1, 1, 4, 32},
     {1, 1, 4, 32},
     0},
    {"4x32, 1 client, lane / Lua",
     Way::kLane,
     Form::kScript,
     {1, 1, 4, 32},
     {1, 1, 4, 32},
     1.5},
    {"4x32, 8 clients, 64 in flight, stream / Lua",
     Way::kGrpc,
     Form::kScript,
     {8, 64, 4, 32},
     {8, 64, 4, 32},
     4},
    {"4x1024, 1 client, stream / Lua",
     Way::kGrpc,
     Form::kScript,
     {1, 1, 4, 1024},
     {1, 1, 4, 1024},
     0},
    {"4x1024, 8 clients, 8 in flight, stream / Lua",
     Way::kGrpc,
     Form::kScript,
     {8, 8, 4, 1024},
     {8, 8, 4, 1024},
     25},
    {"4x32, 1 client, unary / WATCH",
     Way::kGrpc,
     Form::kWatch,
     {1, 0, 4, 32},
     {1, 1, 4, 32},
     0},
    {"4x32, 1 client, stream / WATCH",
     Way::kGrpc,
     Form::kWatch,
     {1, 1, 4, 32},
     {1, 1, 4, 32},
     0},
    {"4x32, 1 client, lane / WATCH",
     Way::kLane,
     Form::kWatch,
     {1, 1, 4, 32},
     {1, 1, 4, 32},
     0},
    {"4x32, 8 clients, stream / WATCH, 8 keys",
     Way::kGrpc,
     Form::kWatch,
     {8, 1, 4, 32, 8},
     {8, 1, 4, 32, 8},
     0},
}};

Side RedisSide(const ServerProcess& redis, const Cell& cell) {
  const Work& work = cell.theirs;
  return {redis.pid(),
          Connecting(work.clients, [address = redis.address(), form = cell.form,
                                    work](size_t number) {
            const RedisBatch batch = {absl::StrCat("n", work.features, "-",
                                                   number % work.normalizers),
                                      work.rows, work.features};
            return form == Form::kWatch ? RedisWatchClient::Make(address, batch)
                                        : RedisScriptClient::Make(
                                              address, batch, work.in_flight);
          })};
}

}  // namespace

absl::Status RunRedisSuite(Peers* peers, const Timing& timing) {
  const auto server = peers->Server();
  if (!server.ok()) return server.status();
  const auto redis = peers->Redis();
  if (!redis.ok()) return redis.status();
  Report report("STREAMNORM / REDIS (nothing on disk)");
  for (const Cell& cell : kCells) {
    const Goal goal = cell.goal == 0 ? Goal() : Goal::AtLeast(cell.goal);
    Say(absl::StrCat("measuring ", cell.name, " ..."));
    const Side ours = cell.way == Way::kLane
                          ? LibrarySide(**server, cell.ours, true)
                          : SessionSide(**server, cell.ours);
    const auto compared = Compare(ours, RedisSide(**redis, cell), timing);
    if (!compared.ok()) return compared.status();
    report.Add(cell.name, *compared, goal);
  }
  return report.Print();
}

}  // namespace streamnorm
