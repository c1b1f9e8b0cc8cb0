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

constexpr char kName[] = "many";
constexpr size_t kNormalizers = 100'000;
constexpr size_t kSessions = 9'000;  // --max_sessions is 10,000
constexpr size_t kStreams = 1'000;
constexpr size_t kStreamsOfAConnection = 100;
constexpr double kNormalizerGoalBytes = 3 * 1024;
constexpr double kStartGoalSeconds = 5;
constexpr double kSlowerGoal = 1.10;

// Shorter measurements are no measurements.
constexpr double kLeastSeconds = 0.05;

double SecondsSince(LoadClock::time_point begin) {
  return std::chrono::duration<double>(LoadClock::now() - begin).count();
}

class ManyBench {
 public:
  ManyBench(const Peers* peers, const Timing& timing)
      : peers_(peers),
        timing_(timing),
        small_(timing.seconds < kLeastSeconds),
        normalizers_(small_ ? kNormalizers / 100 : kNormalizers),
        sessions_(small_ ? kSessions / 100 : kSessions),
        streams_(small_ ? kStreams / 10 : kStreams) {}

  absl::Status Run();

 private:
  // In place of the one before; with what `name` has on disk.
  absl::Status Start(const std::string& name);
  absl::Status Create();
  absl::Status Restart();
  absl::Status CompareWithAlone();
  absl::Status UpdateAll(const std::shared_ptr<RawMessages>& messages) const;
  absl::Status Sessions();
  absl::Status Streams();
  double Resident() const { return ResidentBytes(server_->pid()); }
  absl::Status Each(const char* what, double before, size_t count,
                    Goal goal = {}) const;

  const Peers* const peers_;
  const Timing timing_;
  const bool small_;  // only that it runs
  const size_t normalizers_, sessions_, streams_;
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

absl::Status ManyBench::Start(const std::string& name) {
  server_.reset();
  auto server = peers_->StartServer(name);
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  channel_ = ConnectRaw(server_->address());
  return OpenRawSession(channel_).status();
}

absl::Status ManyBench::Create() {
  if (auto s = Start(kName); !s.ok()) return s;
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
  if (auto s = Start(kName); !s.ok()) return s;
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
  const auto alone = InTurnMessages(alone_channel, *alone_target);
  if (!alone.ok()) return alone.status();
  std::shuffle(targets_.begin(), targets_.end(), std::mt19937_64(5));
  const auto one = InTurnMessages(channel_, {targets_.front()});
  if (!one.ok()) return one.status();
  const auto each = InTurnMessages(channel_, targets_);
  if (!each.ok()) return each.status();
  const double before = Resident();
  if (auto s = UpdateAll(*each); !s.ok()) return s;
  if (auto s = Each("normalizer, besides, once a session has updated it",
                    before, normalizers_);
      !s.ok()) {
    return s;
  }
  const Side alone_side = InTurnSide(**alone_server, alone_channel, *alone);
  Report report(absl::StrCat("ONE OF ", normalizers_, " / ALONE (p50)"));
  for (const auto& [name, messages] :
       {std::pair("4x32, stream, one of them", *one),
        std::pair("4x32, stream, each in turn", *each)}) {
    const auto compared =
        Compare(InTurnSide(*server_, channel_, messages), alone_side, timing_);
    if (!compared.ok()) return compared.status();
    report.Add(name, *compared, Goal::AtMost(kSlowerGoal), {},
               &Measured::p50_us);
  }
  return report.Print();
}

// The first update of a session to a normalizer makes its ledger.
absl::Status ManyBench::UpdateAll(
    const std::shared_ptr<RawMessages>& messages) const {
  constexpr size_t kInFlight = 64;
  constexpr int kMostSlices = 300;
  const Timing slice = {1, 0.1, 0};
  const Side side = InTurnSide(*server_, channel_, messages, kInFlight);
  for (int i = 0; i < kMostSlices && messages->made() < normalizers_; ++i) {
    const auto updated = Measure(side, slice);
    if (!updated.ok()) return updated.status();
  }
  return absl::OkStatus();
}

// On a server of their own: in one that has freed memory nothing would show.
absl::Status ManyBench::Sessions() {
  Say("opening sessions ...");
  if (auto s = Start("sessions"); !s.ok()) return s;
  const double before = Resident();
  if (auto s = OpenManySessions(channel_, sessions_); !s.ok()) return s;
  return Each("session", before, sessions_);
}

absl::Status ManyBench::Streams() {
  Say("opening streams ...");
  if (auto s = Start("streams"); !s.ok()) return s;
  const auto target = CreateMany(channel_, 0, 1);
  if (!target.ok()) return target.status();
  const auto session = OpenRawSession(channel_);
  if (!session.ok()) return session.status();
  RawMessages messages(*session, *target, 4, kManyFeatures);
  const double before = Resident();
  IdleStreams streams;
  std::shared_ptr<grpc::Channel> connection;
  for (size_t i = 0; i < streams_; ++i) {
    if (i % kStreamsOfAConnection == 0) {
      connection = ConnectRaw(server_->address());
    }
    const auto added =
        streams.Add(connection, [&messages] { return messages.Next(); });
    if (!added.ok()) return added;
  }
  return Each("idle stream, 100 on a connection", before, streams_);
}

absl::Status ManyBench::Run() {
  for (const auto part :
       {&ManyBench::Create, &ManyBench::Restart, &ManyBench::CompareWithAlone,
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
