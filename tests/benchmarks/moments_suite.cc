// Moments instead of rows: against an echo that gets as many bytes and answers
// as many, and against sending the rows.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/output.h"
#include "client/streamnorm_client.h"
#include "tests/benchmarks/moments_messages.h"
#include "tests/benchmarks/raw_client.h"
#include "tests/benchmarks/reducing_client.h"
#include "tests/benchmarks/report.h"
#include "tests/benchmarks/sides.h"
#include "tests/benchmarks/suites.h"

namespace streamnorm {
namespace {

constexpr size_t kFeatures = 1024;
constexpr size_t kExchanged = 8;  // normalizers: layers of a small model
constexpr double kEchoGoal = 1.15;
constexpr double kRowsGoal = 4;

constexpr char kMerge[] = "MergeMoments";
constexpr char kExchange[] = "ExchangeMoments";

using ClientOr = absl::StatusOr<std::unique_ptr<LoadClient>>;

// Sends what `what` takes to the method `method`; they differ for the echo,
// whose MergeMoments answers anything twice.
ClientOr MakeMoments(const std::shared_ptr<grpc::Channel>& channel,
                     RawSession session, std::vector<RawTarget> targets,
                     const std::string& what, const std::string& method) {
  RawTraffic traffic;
  traffic.method = method;
  const size_t normalizers = what == kMerge ? 1 : targets.size();
  const auto messages = std::make_shared<MomentsMessages>(
      std::move(session), std::move(targets), kFeatures);
  traffic.least_answer_bytes = normalizers * messages->answer_bytes();
  if (what == kMerge) {
    traffic.next = [messages] { return messages->NextMerge(); };
  } else {
    traffic.next = [messages] { return messages->NextExchange(); };
  }
  return std::make_unique<RawClient>(channel, std::move(traffic));
}

ClientOr MakeForServer(const std::string& address, const std::string& what) {
  const auto client = Client::Connect(address);
  if (!client.ok()) return client.status();
  std::vector<RawTarget> targets;
  for (size_t i = 0; i < kExchanged; ++i) {
    const auto normalizer = (*client)->GetOrCreateNormalizer(
        absl::StrCat("exchanged-", i), static_cast<int64_t>(kFeatures));
    if (!normalizer.ok()) return normalizer.status();
    targets.push_back({normalizer->name(), normalizer->generation()});
  }
  const auto channel = ConnectRaw(address);
  const auto session = OpenRawSession(channel);
  if (!session.ok()) return session.status();
  return MakeMoments(channel, *session, std::move(targets), what, what);
}

Side ServerSide(const ServerProcess& server, const std::string& what) {
  return {server.pid(),
          Connecting(1, [address = server.address(), what](size_t) {
            return MakeForServer(address, what);
          })};
}

Side EchoSide(const ServerProcess& echo, const std::string& what) {
  return {echo.pid(), Connecting(1, [address = echo.address(), what](size_t) {
            return MakeMoments(
                ConnectRaw(address), {},
                std::vector<RawTarget>(kExchanged, {"normalizers/exchanged-0"}),
                what, kMerge);
          })};
}

absl::Status CompareWithEcho(const ServerProcess& server,
                             const ServerProcess& echo, const Timing& timing) {
  Report report("MOMENTS / ECHO OF AS MANY BYTES (p50)");
  for (const std::string what : {kMerge, kExchange}) {
    const std::string name =
        what == kMerge ? absl::StrCat(what, ", ", kFeatures, " features")
                       : absl::StrCat(what, ", ", kExchanged, " x ", kFeatures);
    Say(absl::StrCat("measuring ", name, " ..."));
    const auto compared =
        Compare(ServerSide(server, what), EchoSide(echo, what), timing);
    if (!compared.ok()) return compared.status();
    report.Add(name, *compared, Goal::AtMost(kEchoGoal), {}, &Measured::p50_us);
  }
  return report.Print();
}

absl::Status CompareWithRows(const ServerProcess& server,
                             const Timing& timing) {
  constexpr Work kUnary = {1, 0, 256, 1024};
  constexpr Work kStream = {1, 1, 256, 1024};
  struct Row {
    const char* name;
    Reducing reducing;
    Work rows;
    bool lane;  // on both sides
    Goal goal;
  };
  const std::vector<Row> rows = {
      {"256x1024, reduced / rows unary", Reducing::kRows, kUnary, false,
       Goal::AtLeast(kRowsGoal)},
      {"256x1024, reduced / rows by stream",
       Reducing::kRows,
       kStream,
       false,
       {}},
      {"256x1024, reduced and normalized / rows unary",
       Reducing::kAndNormalizing,
       kUnary,
       false,
       {}},
      {"256x1024, reduced / rows, both by the lane",
       Reducing::kRows,
       kStream,
       true,
       {}},
  };
  Report report("MERGEMOMENTS / SENDING ROWS");
  for (const Row& row : rows) {
    Say(absl::StrCat("measuring ", row.name, " ..."));
    const auto compared =
        Compare(ReducingSide(server, row.rows, row.lane, row.reducing),
                row.lane ? LibrarySide(server, row.rows, true)
                         : SessionSide(server, row.rows),
                timing);
    if (!compared.ok()) return compared.status();
    report.Add(row.name, *compared, row.goal);
  }
  return report.Print();
}

}  // namespace

absl::Status RunMomentsSuite(Peers* peers, const Timing& timing) {
  const auto server = peers->Server();
  if (!server.ok()) return server.status();
  const auto echo = peers->Echo();
  if (!echo.ok()) return echo.status();
  if (auto s = CompareWithEcho(**server, **echo, timing); !s.ok()) return s;
  return CompareWithRows(**server, timing);
}

}  // namespace streamnorm
