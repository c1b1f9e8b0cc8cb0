#include "client/cli/bench_durability.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/bench_measure.h"
#include "client/cli/output.h"
#include "client/cli/program_files.h"
#include "client/cli/progress.h"
#include "client/cli/server_process.h"
#include "client/streamnorm_client.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kRight = Table::Align::kRight;

// The servers that are compared. The last two are StreamNorm too, but for what
// the name says (tests/benchmarks/put_per_request.cc).
enum Variant { kMemory, kDurable, kPut, kSyncedPut, kVariants };

struct Cell {
  const char* name;
  Load load;
};

const std::array<Cell, 7> kCells = {{
    {"4x32, 1 client, 1 in flight", {.features = 32}},
    {"4x32, 8 clients, 1 normalizer",
     {.clients = 8, .in_flight = 64, .features = 32}},
    {"4x32, 8 clients, 8 normalizers",
     {.clients = 8, .in_flight = 64, .normalizers = 8, .features = 32}},
    {"4x1024, 1 client, 1 in flight", {.features = 1024}},
    {"4x1024, 8 clients, 8 normalizers",
     {.clients = 8, .in_flight = 16, .normalizers = 8, .features = 1024}},
    {"256x1024, 2 clients, 2 normalizers",
     {.clients = 2,
      .in_flight = 4,
      .normalizers = 2,
      .rows = 256,
      .features = 1024}},
    {"4x65536, 2 clients, 2 normalizers",
     {.clients = 2, .in_flight = 4, .normalizers = 2, .features = 65'536}},
}};

// Answers that mean "on disk".
const Cell kDurableAnswers = {
    "4x32, 8 clients, 8 in flight each",
    {.clients = 8, .in_flight = 8, .features = 32, .wait_durable = true}};

// A start has to replay the log: as much of it as there may be by default
// (--max_log_bytes). The server that fills it may have more, or RocksDB would
// empty it half way. There are normalizers enough to fill it in seconds.
constexpr uint64_t kFullLogBytes = uint64_t{64} << 20;
constexpr char kMaxLogBytesToFill[] = "209715200";
const Load kFillLog = {
    .clients = 8, .in_flight = 4, .normalizers = 64, .features = 1024};
constexpr int kStarts = 5;

// The results of one variant in one cell, a round each.
using Rounds = std::vector<LoadResult>;

template <typename Field>
double MedianOf(const Rounds& rounds, Field field) {
  std::vector<double> values;
  for (const LoadResult& result : rounds) values.push_back(result.*field);
  return Median(std::move(values));
}

// Messages per second of `a` as a part of `b`'s, round by round.
double RatioOf(const Rounds& a, const Rounds& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    ratios.push_back(a[i].messages_per_s / b[i].messages_per_s);
  }
  return Median(std::move(ratios));
}

uint64_t LogBytes(const std::string& data_dir) {
  uint64_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(data_dir + "/db", ignored)) {
    if (entry.path().extension() == ".log") bytes += entry.file_size(ignored);
  }
  return bytes;
}

bool IsInMemory(const std::string& directory) {
  struct statfs info {};
  return statfs(directory.c_str(), &info) == 0 && info.f_type == TMPFS_MAGIC;
}

class Bench {
 public:
  Bench(const DurabilityBench& options, const StopSignal* stop)
      : options_(options), stop_(stop), scratch_(options.directory) {}

  absl::Status Run();

 private:
  using CellRounds = std::array<Rounds, kVariants>;

  absl::Status StartServers();
  absl::StatusOr<std::unique_ptr<ServerProcess>> Start(
      const std::string& binary, const std::string& name,
      std::vector<std::string> arguments) const;
  absl::StatusOr<CellRounds> Measure(const Cell& cell,
                                     std::initializer_list<Variant> variants);
  absl::Status CompareStores();
  absl::Status CompareDurableAnswers();
  absl::Status MeasureStarts();
  absl::Status FillLog(const std::string& data_dir);
  absl::StatusOr<double> TimeStart(const std::string& data_dir);
  absl::Status Stopped() const {
    return stop_->requested() ? absl::CancelledError("interrupted")
                              : absl::OkStatus();
  }
  std::string Factor(const CellRounds& rounds, Variant variant) const;

  const DurabilityBench& options_;
  const StopSignal* const stop_;
  const ScratchDirectory scratch_;
  std::string binary_;
  std::array<std::unique_ptr<ServerProcess>, kVariants> servers_;
};

absl::StatusOr<std::unique_ptr<ServerProcess>> Bench::Start(
    const std::string& binary, const std::string& name,
    std::vector<std::string> arguments) const {
  ServerProcessOptions options;
  options.binary = binary;
  options.listen = absl::StrCat("unix:", scratch_.path(), "/", name, ".sock");
  options.data_dir = absl::StrCat(scratch_.path(), "/", name);
  options.log_path = options.data_dir + ".log";
  options.arguments = std::move(arguments);
  return ServerProcess::Start(options);
}

absl::Status Bench::StartServers() {
  if (scratch_.path().empty()) {
    return absl::UnknownError("no directory for the stores; set --directory");
  }
  const auto binary = FindServer(options_.server_binary);
  if (!binary.ok()) return binary.status();
  binary_ = *binary;
  const auto start = [&](Variant variant, const std::string& program,
                         const std::string& name,
                         std::vector<std::string> arguments) {
    auto server = Start(program, name, std::move(arguments));
    if (server.ok()) servers_[variant] = *std::move(server);
    return server.status();
  };
  if (auto s = start(kMemory, binary_, "memory",
                     {"--store", "memory", "--lane", "none"});
      !s.ok()) {
    return s;
  }
  if (auto s = start(kDurable, binary_, "durable", {}); !s.ok()) return s;
  const auto peer =
      FindProgram("tests/benchmarks", "streamnorm-put-per-request");
  if (!peer.ok()) {
    Say("one put per request is left out: that server is not built here "
        "(./run bench durability builds it)");
    return absl::OkStatus();
  }
  if (auto s = start(kPut, *peer, "put", {}); !s.ok()) return s;
  return start(kSyncedPut, *peer, "synced-put", {"--sync"});
}

absl::StatusOr<Bench::CellRounds> Bench::Measure(
    const Cell& cell, std::initializer_list<Variant> variants) {
  CellRounds results;
  for (int round = 0; round < options_.rounds; ++round) {
    for (const Variant variant : variants) {
      const ServerProcess* server = servers_[variant].get();
      if (server == nullptr) continue;
      if (auto s = Stopped(); !s.ok()) return s;
      if (round == 0) {
        auto s = PrepareLoad(server->address(), cell.load);
        if (!s.ok()) return s;
      }
      const auto result =
          RunLoad(server->address(), server->pid(), cell.load, options_.time);
      if (!result.ok()) return result.status();
      results[variant].push_back(*result);
    }
  }
  return results;
}

std::string Bench::Factor(const CellRounds& rounds, Variant variant) const {
  if (rounds[variant].empty()) return "-";
  return absl::StrFormat("%.1fx", RatioOf(rounds[kMemory], rounds[variant]));
}

absl::Status Bench::CompareStores() {
  Table table({{"LOAD"},
               {"MEMORY msg/s", kRight},
               {"DURABLE", kRight},
               {"p50 us", kRight},
               {"p99 us", kRight},
               {"CPU us, client", kRight},
               {"server", kRight},
               {"PUT COSTS", kRight},
               {"SYNCED PUT", kRight}});
  std::vector<double> small;
  std::optional<double> large;
  for (const Cell& cell : kCells) {
    Say(absl::StrCat("measuring ", cell.name, " ..."));
    const auto rounds = Measure(cell, {kMemory, kDurable, kPut, kSyncedPut});
    if (!rounds.ok()) return rounds.status();
    const Rounds& durable = (*rounds)[kDurable];
    const double ratio = RatioOf(durable, (*rounds)[kMemory]);
    if (cell.load.features <= 1024) {
      small.push_back(ratio);
    } else {
      large = ratio;
    }
    const auto number = [&](auto field, const Rounds& of) {
      return absl::StrFormat("%.0f", MedianOf(of, field));
    };
    table.AddRow(
        {cell.name, number(&LoadResult::messages_per_s, (*rounds)[kMemory]),
         absl::StrFormat("%.3f", ratio), number(&LoadResult::p50_us, durable),
         number(&LoadResult::p99_us, durable),
         absl::StrFormat("%.1f", MedianOf(durable, &LoadResult::client_cpu_us)),
         absl::StrFormat("%.1f", MedianOf(durable, &LoadResult::server_cpu_us)),
         Factor(*rounds, kPut), Factor(*rounds, kSyncedPut)});
  }
  if (auto s = PrintTable(table); !s.ok()) return s;
  return Print(absl::StrFormat(
      "durable / memory, up to 1,024 features: median of loads %.3f, worst "
      "%.3f; 65,536 features: %.3f\n\n",
      Median(small), *std::min_element(small.begin(), small.end()),
      large.value_or(0)));
}

absl::Status Bench::CompareDurableAnswers() {
  Say("measuring answers that mean \"on disk\" ...");
  const auto rounds = Measure(kDurableAnswers, {kDurable, kSyncedPut});
  if (!rounds.ok()) return rounds.status();
  const Rounds& ours = (*rounds)[kDurable];
  const Rounds& peer = (*rounds)[kSyncedPut];
  return Print(absl::StrFormat(
      "Answers that mean \"on disk\" (wait_durable; %s): %.0f msg/s, p50 %.0f "
      "us, p99 %.0f us%s\n\n",
      kDurableAnswers.name, MedianOf(ours, &LoadResult::messages_per_s),
      MedianOf(ours, &LoadResult::p50_us), MedianOf(ours, &LoadResult::p99_us),
      peer.empty() ? ""
                   : absl::StrFormat("; %.1fx one synced put per request",
                                     RatioOf(ours, peer))));
}

// In slices, so that nobody is connected when the server is killed; without a
// lane, whose socket can't be copied.
absl::Status Bench::FillLog(const std::string& data_dir) {
  const LoadTime slice = {std::chrono::milliseconds(0),
                          std::chrono::milliseconds(50)};
  auto server =
      Start(binary_, fs::path(data_dir).filename().string(),
            {"--max_log_bytes", kMaxLogBytesToFill, "--lane", "none"});
  if (!server.ok()) return server.status();
  if (auto s = PrepareLoad((*server)->address(), kFillLog); !s.ok()) return s;
  constexpr int kMostSlices = 2000;
  for (int i = 0; i < kMostSlices && LogBytes(data_dir) < kFullLogBytes; ++i) {
    if (auto s = Stopped(); !s.ok()) return s;
    const auto ran =
        RunLoad((*server)->address(), (*server)->pid(), kFillLog, slice);
    if (!ran.ok()) return ran.status();
  }
  (*server)->Kill();
  if (LogBytes(data_dir) >= kFullLogBytes) return absl::OkStatus();
  return absl::InternalError("the log does not fill up");
}

// Until a request is answered, in seconds.
absl::StatusOr<double> Bench::TimeStart(const std::string& data_dir) {
  const auto begin = Clock::now();
  auto server = Start(binary_, fs::path(data_dir).filename().string(), {});
  if (!server.ok()) return server.status();
  const auto client = Client::Connect((*server)->address());
  if (!client.ok()) return client.status();
  const std::vector<float> row(kFillLog.features);
  const auto answer = (*client)->NormalizeOnly(
      LoadNormalizerId(kFillLog.features, 0), RowsOf(row, kFillLog.features));
  if (!answer.ok()) return answer.status();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

absl::Status Bench::MeasureStarts() {
  Say("measuring starts after kill -9 with a full log ...");
  const std::string killed = scratch_.path() + "/killed";
  if (auto s = FillLog(killed); !s.ok()) return s;
  std::vector<double> seconds;
  for (int i = 0; i < kStarts; ++i) {
    if (auto s = Stopped(); !s.ok()) return s;
    const std::string copy = absl::StrCat(scratch_.path(), "/start-", i);
    std::error_code error;
    fs::copy(killed, copy, fs::copy_options::recursive, error);
    if (error) return absl::UnknownError(copy + ": " + error.message());
    const auto took = TimeStart(copy);
    if (!took.ok()) return took.status();
    seconds.push_back(*took);
    fs::remove_all(copy, error);
  }
  return Print(absl::StrFormat(
      "Serving again after kill -9 with a log of %.0f MiB: median %.2f s, "
      "longest %.2f s of %d\n",
      static_cast<double>(LogBytes(killed)) / (1 << 20), Median(seconds),
      *std::max_element(seconds.begin(), seconds.end()), kStarts));
}

absl::Status Bench::Run() {
  if (auto s = StartServers(); !s.ok()) return s;
  if (IsInMemory(scratch_.path())) {
    Say(absl::StrCat(scratch_.path(),
                     " is in memory, where a sync costs "
                     "nothing: name a directory on a disk with --directory"));
  }
  for (const auto part : {&Bench::CompareStores, &Bench::CompareDurableAnswers,
                          &Bench::MeasureStarts}) {
    if (auto s = (this->*part)(); !s.ok()) return s;
    static_cast<void>(FlushStdout());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunDurabilityBench(const DurabilityBench& bench,
                                const StopSignal& stop) {
  return Bench(bench, &stop).Run();
}

}  // namespace streamnorm
