// A server with 100,000 normalizers of 32 features: what each takes, how long
// it starts, and whether it is slower for that. What a session and an idle
// stream take.

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/output.h"
#include "client/streamnorm_client.h"
#include "tests/benchmarks/bulk.h"
#include "tests/benchmarks/raw_client.h"
#include "tests/benchmarks/report.h"
#include "tests/benchmarks/suites.h"

namespace streamnorm {
namespace {

constexpr size_t kNormalizers = 100'000;
constexpr size_t kSessions = 9'000;  // --max_sessions is 10,000
constexpr size_t kStreams = 1'000;
constexpr size_t kStreamsOfAConnection = 100;
constexpr double kNormalizerGoalBytes = 3 * 1024;
constexpr double kStartGoalSeconds = 5;
constexpr double kSlowerGoal = 1.10;

// A short measurement makes no difference here.
constexpr int kSmallRounds = 3;

double SecondsSince(LoadClock::time_point begin) {
  return std::chrono::duration<double>(LoadClock::now() - begin).count();
}

class ManyBench {
 public:
  ManyBench(const Peers* peers, const Timing& timing)
      : peers_(peers),
        timing_(timing),
        normalizers_(timing.rounds <= kSmallRounds && timing.seconds < 0.05
                         ? kNormalizers / 100  // that it runs at all
                         : kNormalizers) {}

  absl::Status Run();

 private:
  absl::Status Start();
  absl::Status Create();
  absl::Status Restart();
  absl::Status CompareWithAlone();
  absl::Status Sessions();
  absl::Status Streams();
  double Resident() const { return ResidentBytes(server_->pid()); }
  absl::Status Each(const char* what, double before, size_t count,
                    Goal goal = {}) const;

  const Peers* const peers_;
  const Timing timing_;
  const size_t normalizers_;
  std::unique_ptr<ServerProcess> server_;
  std::shared_ptr<grpc::Channel> channel_;
  double empty_ = 0;
  std::vector<RawTarget> targets_;
};

absl::Status ManyBench::Each(const char* what, double before, size_t count,
                             Goal goal) const {
  return PrintFact(absl::StrCat("Memory of a server for each ", what),
                   (Resident() - before) / static_cast<double>(count), "bytes",
                   goal);
}

absl::Status ManyBench::Start() {
  auto server = peers_->StartServer("many");
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  channel_ = ConnectRaw(server_->address());
  return OpenRawSession(channel_).status();
}

absl::Status ManyBench::Create() {
  Say(absl::StrCat("creating ", normalizers_, " normalizers ..."));
  empty_ = Resident();
  const auto begin = LoadClock::now();
  auto targets = CreateMany(channel_, 0, normalizers_);
  if (!targets.ok()) return targets.status();
  targets_ = *std::move(targets);
  if (auto s = PrintFact(absl::StrCat("Creating ", normalizers_,
                                      " normalizers of 32 features, each on "
                                      "disk"),
                         SecondsSince(begin), "s");
      !s.ok()) {
    return s;
  }
  return Each("normalizer of 32 features, created", empty_, normalizers_);
}

// Until a request for the last one is answered.
absl::Status ManyBench::Restart() {
  channel_.reset();
  const auto stopped = server_->Stop(std::chrono::seconds(30));
  if (!stopped.ok()) return stopped;
  const auto begin = LoadClock::now();
  if (auto s = Start(); !s.ok()) return s;
  const auto client = Client::Connect(server_->address());
  if (!client.ok()) return client.status();
  const auto answer =
      (*client)->GetNormalizer(absl::StrCat("many-", normalizers_ - 1));
  if (!answer.ok()) return answer.status();
  if (auto s =
          PrintFact("Starting with them, until one answers",
                    SecondsSince(begin), "s", Goal::AtMost(kStartGoalSeconds));
      !s.ok()) {
    return s;
  }
  return Each("normalizer of 32 features, after a start", empty_, normalizers_,
              Goal::AtMost(kNormalizerGoalBytes));
}

absl::Status ManyBench::CompareWithAlone() {
  Say("measuring one of them, and each in turn, against one alone ...");
  const auto alone_server = peers_->StartServer("alone");
  if (!alone_server.ok()) return alone_server.status();
  const auto alone_channel = ConnectRaw((*alone_server)->address());
  const auto alone_target = CreateMany(alone_channel, 0, 1);
  if (!alone_target.ok()) return alone_target.status();
  const auto alone = InTurnSide(**alone_server, alone_channel, *alone_target);
  if (!alone.ok()) return alone.status();
  std::shuffle(targets_.begin(), targets_.end(), std::mt19937_64(5));
  const auto one = InTurnSide(*server_, channel_, {targets_.front()});
  if (!one.ok()) return one.status();
  const auto each = InTurnSide(*server_, channel_, targets_);
  if (!each.ok()) return each.status();
  Report report(absl::StrCat("ONE OF ", normalizers_, " / ALONE (p50)"));
  for (const auto& [name, side] :
       {std::pair("4x32, stream, one of them", &*one),
        std::pair("4x32, stream, each in turn", &*each)}) {
    const auto compared = Compare(*side, *alone, timing_);
    if (!compared.ok()) return compared.status();
    report.Add(name, *compared, Goal::AtMost(kSlowerGoal), {},
               &Measured::p50_us);
  }
  return report.Print();
}

absl::Status ManyBench::Sessions() {
  Say("opening sessions ...");
  const double before = Resident();
  if (auto s = OpenManySessions(channel_, kSessions); !s.ok()) return s;
  return Each("session", before, kSessions);
}

absl::Status ManyBench::Streams() {
  Say("opening streams ...");
  const auto session = OpenRawSession(channel_);
  if (!session.ok()) return session.status();
  RawMessages messages(*session, {targets_.front()}, 4, kManyFeatures);
  const double before = Resident();
  IdleStreams streams;
  std::shared_ptr<grpc::Channel> connection;
  for (size_t i = 0; i < kStreams; ++i) {
    if (i % kStreamsOfAConnection == 0) {
      connection = ConnectRaw(server_->address());
    }
    const auto added =
        streams.Add(connection, [&messages] { return messages.Next(); });
    if (!added.ok()) return added;
  }
  return Each("idle stream, 100 on a connection", before, kStreams);
}

absl::Status ManyBench::Run() {
  for (const auto part : {&ManyBench::Start, &ManyBench::Create,
                          &ManyBench::Restart, &ManyBench::CompareWithAlone,
                          &ManyBench::Sessions, &ManyBench::Streams}) {
    if (auto s = (this->*part)(); !s.ok()) return s;
    if (auto s = FlushStdout(); !s.ok()) return s;
  }
  return Print("\n");
}

}  // namespace

absl::Status RunManySuite(Peers* peers, const Timing& timing) {
  return ManyBench(peers, timing).Run();
}

}  // namespace streamnorm
