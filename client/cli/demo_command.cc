// demo.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/commands.h"
#include "client/cli/demo_clients.h"
#include "client/cli/demo_rows.h"
#include "client/cli/exit_code.h"
#include "client/cli/program_files.h"
#include "client/cli/progress.h"
#include "client/cli/server_process.h"
#include "client/cli/statistics_query.h"
#include "client/cli/stop_signal.h"

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

constexpr size_t kClients = 4;
constexpr size_t kSeedStreamRows = 4000;

// Of mean and variance, relative: what the service promises.
constexpr double kAccuracy = 1e-12;

// What the comparison has to show, or something is off.
constexpr double kLayerNormMost = 0.003;
constexpr double kBatchNormLeast = 1.99;
constexpr double kServiceLeast = 0.4;
constexpr double kServiceMost = 0.8;

struct Flags {
  std::string server_binary;
  std::string data;
  size_t passes = 20;
};

// In the checkout that this program was built in, or installed with it.
absl::StatusOr<std::string> FindData(const Flags& flags) {
  if (!flags.data.empty()) return flags.data;
  constexpr char kInCheckout[] = "tests/data/breast_cancer.csv";
  constexpr char kInstalled[] = "../share/streamnorm/breast_cancer.csv";
  const fs::path here = ProgramDirectory();
  std::vector<fs::path> candidates = {fs::path(kInCheckout), here / kInstalled};
  for (fs::path up = here; up.has_relative_path(); up = up.parent_path()) {
    candidates.push_back(up / kInCheckout);
  }
  for (const fs::path& candidate : candidates) {
    if (access(candidate.c_str(), R_OK) == 0) return candidate.string();
  }
  return UsageError("no breast_cancer.csv found; name it with --data");
}

// The demonstration, step by step.
class Demo {
 public:
  Demo(const Flags& flags, const StopSignal* stop)
      : flags_(flags), stop_(stop) {}

  absl::Status Run();

 private:
  absl::Status LoadRows();
  absl::Status StartServer();
  absl::Status CreateNormalizers();
  absl::Status SendThroughACrash();
  absl::Status CheckCounts();
  absl::Status CompareNormalizations();
  absl::Status StopServer();

  absl::Status CheckStream(const DemoRows& stream, Table* table);
  absl::StatusOr<RowPair> NormalizeSeedRows();

  // A sentence on stdout, at once.
  static void Tell(absl::string_view sentence) {
    static_cast<void>(Print(absl::StrCat(sentence, "\n")));
    static_cast<void>(FlushStdout());
  }

  // Remembers what is off; the demonstration goes on, so that all is seen.
  void Expect(bool condition, absl::string_view otherwise) {
    if (!condition && wrong_.empty()) wrong_ = std::string(otherwise);
  }

  const Flags& flags_;
  const StopSignal* const stop_;
  const ScratchDirectory directory_;
  ServerProcessOptions server_options_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<Client> client_;
  std::vector<DemoRows> streams_;
  std::string wrong_;
};

absl::Status Demo::Run() {
  Tell(
      "StreamNorm: statistics that every row enters exactly once, crash or "
      "no crash.\n");
  for (const auto step :
       {&Demo::LoadRows, &Demo::StartServer, &Demo::CreateNormalizers,
        &Demo::SendThroughACrash, &Demo::CheckCounts,
        &Demo::CompareNormalizations, &Demo::StopServer}) {
    if (stop_->requested()) return absl::CancelledError("interrupted");
    if (auto s = (this->*step)(); !s.ok()) return s;
  }
  return wrong_.empty() ? absl::OkStatus() : absl::InternalError(wrong_);
}

absl::Status Demo::LoadRows() {
  const auto data = FindData(flags_);
  if (!data.ok()) return data.status();
  auto table = ReadDemoCsv(*data, flags_.passes);
  if (!table.ok()) return table.status();
  streams_.push_back(*std::move(table));
  streams_.push_back(MakeSeedStream(kSeedStreamRows));
  return absl::OkStatus();
}

absl::Status Demo::StartServer() {
  if (directory_.path().empty()) {
    return absl::UnknownError("no temporary directory; set TMPDIR");
  }
  const auto binary = FindServer(flags_.server_binary);
  if (!binary.ok()) return binary.status();
  server_options_.binary = *binary;
  server_options_.data_dir = directory_.path() + "/data";
  server_options_.log_path = directory_.path() + "/log";
  auto server = ServerProcess::Start(server_options_);
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  server_options_.listen = server_->address();  // where it is found again
  Tell(absl::StrCat("1. A server of its own: ", *binary, " (pid ",
                    server_->pid(), ")\n   listens on ", server_->address(),
                    ", its data is in ", server_options_.data_dir, ".\n"));
  ClientOptions options;
  options.request_timeout = std::chrono::seconds(20);
  auto client = Client::Connect(server_->address(), options);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  return absl::OkStatus();
}

absl::Status Demo::CreateNormalizers() {
  for (const DemoRows& stream : streams_) {
    v1::CreateNormalizerRequest request;
    request.set_normalizer_id(stream.id);
    auto* normalizer = request.mutable_normalizer();
    normalizer->set_features(static_cast<int64_t>(stream.features));
    normalizer->mutable_feature_names()->Assign(stream.names.begin(),
                                                stream.names.end());
    const auto created = client_->CreateNormalizer(request);
    if (!created.ok()) return created.status();
  }
  Tell(absl::StrCat(
      "2. Two normalizers: ", streams_[0].id, " (", streams_[0].features,
      " named features, the Wisconsin\n   tumour measurements) and ",
      streams_[1].id, " (", streams_[1].features,
      " inputs of a layer, which layer\n   normalization can't tell "
      "apart).\n"));
  return absl::OkStatus();
}

absl::Status Demo::SendThroughACrash() {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  const auto stop = [this] { return stop_->requested(); };
  DemoClients clients(server_->address(), kClients, &streams_);
  Tell(absl::StrCat(
      "3. ", kClients, " clients send ", Grouped(clients.total_rows()),
      " rows, ", DemoClients::kRowsPerBatch,
      " at a time: far too few for statistics of\n   their own. "
      "Each row comes back normalized with all that came before.\n"));
  if (auto s = clients.WaitForAnswers(clients.total_rows() / 2, stop);
      !s.ok()) {
    return s;
  }
  server_->Kill();
  Tell(absl::StrCat("4. ", Grouped(clients.totals().rows_answered),
                    " rows are answered. kill -9 ", server_->pid(),
                    ": the server is dead."));
  auto server = ServerProcess::Start(server_options_);
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  Tell(absl::StrCat("   Another one (pid ", server_->pid(),
                    ") starts on the same address and data."));
  if (auto s = clients.WaitForEnd(stop); !s.ok()) return s;
  const DemoClients::Totals totals = clients.totals();
  Tell(absl::StrCat(
      "   The clients go on by themselves after a gap of ",
      duration_cast<milliseconds>(totals.longest_silence).count(),
      " ms. They send ", Counted(totals.updates_sent_again, "update"),
      "\n   again that were answered but not yet on disk, besides those that "
      "were on the way.\n"));
  Expect(totals.reconnects >= kClients,
         "the clients did not notice that the server was killed");
  return absl::OkStatus();
}

absl::Status Demo::CheckCounts() {
  constexpr auto kRight = Table::Align::kRight;
  Tell(
      "5. What was sent, and what was counted; mean and variance against two "
      "passes\n   of long double over the rows sent (relative, bound 1e-12):"
      "\n");
  Table table({{"NORMALIZER"},
               {"ROWS SENT", kRight},
               {"ROWS COUNTED", kRight},
               {"MEAN OFF BY", kRight},
               {"VARIANCE OFF BY", kRight},
               {""}});
  for (const DemoRows& stream : streams_) {
    if (auto s = CheckStream(stream, &table); !s.ok()) return s;
  }
  if (auto s = PrintTable(table); !s.ok()) return s;
  Tell("");
  return absl::OkStatus();
}

absl::Status Demo::CheckStream(const DemoRows& stream, Table* table) {
  const auto normalizer = client_->GetNormalizer(stream.id);
  if (!normalizer.ok()) return normalizer.status();
  v1::GetStatisticsRequest request;
  request.set_name(normalizer->name());
  const auto statistics = client_->GetStatistics(request);
  if (!statistics.ok()) return statistics.status();
  const TwoPass want = ComputeTwoPass(stream);
  double mean_off = 0;
  double variance_off = 0;
  const auto relative = [](double got, long double wanted) {
    return static_cast<double>(std::fabs((got - wanted) / wanted));
  };
  for (size_t j = 0; j < stream.features; ++j) {
    const auto& got = statistics->features(static_cast<int>(j));
    mean_off = std::max(mean_off, relative(got.mean(), want.mean[j]));
    variance_off =
        std::max(variance_off, relative(got.variance(), want.variance[j]));
  }
  const bool counted = statistics->row_count() == stream.rows();
  const bool accurate = mean_off <= kAccuracy && variance_off <= kAccuracy;
  Expect(counted, stream.id + ": not every row was counted exactly once");
  Expect(accurate, stream.id + ": mean or variance is off");
  table->AddRow({stream.id, absl::StrCat(stream.rows()),
                 absl::StrCat(statistics->row_count()),
                 absl::StrFormat("%.1e", mean_off),
                 absl::StrFormat("%.1e", variance_off),
                 counted && accurate ? "exact" : "WRONG"});
  return absl::OkStatus();
}

absl::StatusOr<RowPair> Demo::NormalizeSeedRows() {
  std::vector<double> rows;
  for (const auto& row : kDemoSeedRows) {
    rows.insert(rows.end(), row.begin(), row.end());
  }
  const auto answer =
      client_->NormalizeOnly("seed", RowsOf(rows, kDemoSeedFeatures));
  if (!answer.ok()) return answer.status();
  const std::string& data = answer->output().data();
  if (data.size() != rows.size() * sizeof(double)) {
    return absl::InternalError("the answer has another size than the request");
  }
  RowPair normalized;
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < kDemoSeedFeatures; ++j) {
      normalized[i].push_back(LoadElement<double>(
          data.data() + (i * kDemoSeedFeatures + j) * sizeof(double)));
    }
  }
  return normalized;
}

// The first features of both rows under each normalization.
Table SideBySide(const std::vector<std::pair<const char*, RowPair>>& columns) {
  constexpr size_t kShownFeatures = 6;
  constexpr auto kRight = Table::Align::kRight;
  std::vector<Table::Column> titles = {{"FEATURE", kRight}};
  for (const auto& column : columns) {
    titles.push_back({absl::StrCat(column.first, " a"), kRight});
    titles.push_back({"b", kRight});
  }
  Table table(std::move(titles));
  for (size_t j = 0; j < kShownFeatures; ++j) {
    std::vector<std::string> cells = {absl::StrCat(j)};
    for (const auto& column : columns) {
      for (const auto& row : column.second) {
        cells.push_back(absl::StrFormat("%.4f", row[j]));
      }
    }
    table.AddRow(std::move(cells));
  }
  std::vector<std::string> distances = {"mean |a-b|"};
  for (const auto& column : columns) {
    distances.push_back("");
    distances.push_back(absl::StrFormat("%.4f", MeanDistance(column.second)));
  }
  table.AddRow(std::move(distances));
  return table;
}

absl::Status Demo::CompareNormalizations() {
  const auto service = NormalizeSeedRows();
  if (!service.ok()) return service.status();
  RowPair input;
  for (size_t i = 0; i < 2; ++i) {
    input[i].assign(kDemoSeedRows[i].begin(), kDemoSeedRows[i].end());
  }
  const RowPair layer = LayerNormalize(input);
  const RowPair batch = BatchNormalize(input);
  Tell(
      "   Two rows a and b of the seed stream, side by side (6 of 32 "
      "features):\n");
  const auto printed = PrintTable(SideBySide({{"INPUT", input},
                                              {"LAYERNORM", layer},
                                              {"BATCHNORM", batch},
                                              {"STREAMNORM", *service}}));
  if (!printed.ok()) return printed;
  Tell(
      "\n   Layer normalization makes the same of both, because they differ in "
      "scale.\n   BatchNorm on this batch of two answers +1 and -1, whatever "
      "they are. Only\n   statistics over the whole stream say how far apart "
      "they are, and on which\n   side of what is usual.\n");
  Expect(MeanDistance(layer) <= kLayerNormMost,
         "layer normalization: the rows should be the same");
  Expect(MeanDistance(batch) >= kBatchNormLeast,
         "BatchNorm: the rows should be +1 and -1");
  const double distance = MeanDistance(*service);
  Expect(kServiceLeast <= distance && distance <= kServiceMost,
         "StreamNorm: the rows should be about 0.6 apart");
  return absl::OkStatus();
}

absl::Status Demo::StopServer() {
  const absl::Status stopped = server_->Stop(std::chrono::seconds(20));
  if (!stopped.ok()) return stopped;
  Tell("The server is stopped and its data removed.");
  return absl::OkStatus();
}

absl::StatusOr<int> RunDemo(const Globals& globals, const Flags& flags) {
  if (!globals.output.empty()) {
    return UsageError("--output: set, want none: the demo tells a story");
  }
  const StopSignal stop("stopping; Ctrl-C again stops at once");
  Demo demo(flags, &stop);
  const absl::Status status = demo.Run();
  if (absl::IsCancelled(status) && stop.requested()) {
    return 128 + stop.signal_number();
  }
  if (status.ok()) return kExitOk;
  static_cast<void>(FlushStdout());
  Say(absl::StrCat("streamnorm: demo: ", status.message()));
  return kExitFailed;
}

}  // namespace

void AddDemoCommand(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = line->Add("demo",
                                "Shows on a server of its own, which it kills, "
                                "that every row counts once",
                                kOtherGroup, [flags](const Globals& globals) {
                                  return RunDemo(globals, *flags);
                                });
  command
      ->add_option("--server_binary,--server-binary", flags->server_binary,
                   "streamnorm-server to start (default: the one next door)")
      ->option_text("FILE");
  command
      ->add_option("--data", flags->data,
                   "CSV file of 30 tumour measurements (default: "
                   "tests/data/breast_cancer.csv of the checkout)")
      ->option_text("FILE");
  command
      ->add_option("--passes", flags->passes,
                   "How many times that file is sent (default 20)")
      ->option_text("N")
      ->check(CLI::Range(2, 1000));
}

}  // namespace streamnorm
