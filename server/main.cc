// streamnorm-server: flags, store, signals. Everything else is Server.

#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <string>

#include "grpc/grpc.h"
#include "lane/unix_socket.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/process_tuning.h"
#include "server/server.h"
#include "server/version.h"
#include "storage/memory_store.h"
#include "storage/posix_file.h"
#include "storage/rocksdb_offline.h"
#include "storage/rocksdb_store.h"

namespace streamnorm {
namespace {

// What the process ends with (docs/operations.md).
enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitDataLoss = 65,     // EX_DATAERR: the store is damaged or too old
  kExitUnavailable = 69,  // EX_UNAVAILABLE: address or data directory in use
  kExitStoreFailed = 74,  // EX_IOERR: writing failed; restart
  kExitNoStore = 78,      // EX_CONFIG: of a newer version, or no store at all
};

struct Flags {
  ServerOptions server;
  RocksdbStoreOptions rocksdb;
  std::string store = "rocksdb";
  std::string lane;
  std::string http_listen = "none";
  std::string restore_from;
  bool verify = false;
  std::string log_level = "info";
  int64_t commit_interval_ms = 10;
  int64_t drain_timeout_s = 10;
};

void AddFlags(CLI::App* app, Flags* flags) {
  app->set_version_flag("--version", kVersion);
  app->set_config("--config", "", "File with flags, one `name = value` a line")
      ->envname("STREAMNORM_CONFIG");
  const auto env = [](CLI::Option* option, const char* name) {
    option->envname(name)->capture_default_str();
  };
  Limits& limits = flags->server.limits;
  env(app->add_option("--listen", flags->server.listen,
                      "Address to listen on, host:port or unix:/path; may be "
                      "repeated. Default: 127.0.0.1:50051 and "
                      "unix:DATA_DIR/streamnorm.sock"),
      "STREAMNORM_LISTEN");
  env(app->add_option("--lane", flags->lane,
                      "Path of the socket for clients on this machine that "
                      "do without gRPC (docs/lane.md), or none. Default: "
                      "DATA_DIR/streamnorm.lane"),
      "STREAMNORM_LANE");
  env(app->add_option("--http_listen", flags->http_listen,
                      "Address for /metrics, /healthz, /readyz and "
                      "/statistics/NAME over HTTP, host:port, or none: two "
                      "servers on one machine can't share a port, so it has to "
                      "be chosen; 127.0.0.1:9464 is usual"),
      "STREAMNORM_HTTP_LISTEN");
  env(app->add_option("--data_dir", flags->rocksdb.data_dir,
                      "Directory for the statistics; created if absent"),
      "STREAMNORM_DATA_DIR");
  env(app->add_option("--store", flags->store,
                      "rocksdb, or memory: nothing survives the process")
          ->check(CLI::IsMember({"rocksdb", "memory"})),
      "STREAMNORM_STORE");
  env(app->add_flag("--auto_create", flags->server.auto_create,
                    "The first Normalize of an unknown normalizer creates it"),
      "STREAMNORM_AUTO_CREATE");
  env(app->add_flag("--insecure", flags->server.insecure,
                    "Listen beyond loopback although there is no TLS yet"),
      "STREAMNORM_INSECURE");
  env(app->add_flag("--accept_data_loss", flags->rocksdb.accept_data_loss,
                    "Open a store that lost what was promised to clients"),
      "STREAMNORM_ACCEPT_DATA_LOSS");
  env(app->add_option("--backup_dir", flags->server.backup_dir,
                      "Directory for backups, created if absent; without it "
                      "CreateBackup is refused"),
      "STREAMNORM_BACKUP_DIR");
  // Done once, by hand: not for the environment.
  app->add_option("--restore_from", flags->restore_from,
                  "Makes --data_dir, which must be absent or empty, of this "
                  "backup, and ends");
  app->add_flag("--verify", flags->verify,
                "Looks for damage in --data_dir, which no server may have "
                "open, changes nothing, and ends: 0 none, 65 some");
  env(app->add_option("--commit_interval_ms", flags->commit_interval_ms,
                      "Longest time from an update to its commit, while the "
                      "disk keeps up")
          ->check(CLI::Range(1, 60'000)),
      "STREAMNORM_COMMIT_INTERVAL_MS");
  env(app->add_option("--max_log_bytes", flags->rocksdb.max_total_wal_bytes,
                      "Log that is kept before it is turned into tables: "
                      "bounds the time a start takes")
          ->check(CLI::Range(uint64_t{64} << 10, uint64_t{1} << 40)),
      "STREAMNORM_MAX_LOG_BYTES");
  env(app->add_option("--min_free_disk_bytes",
                      flags->server.commit.min_free_disk_bytes,
                      "Updates are refused while the disk has less left")
          ->check(CLI::NonNegativeNumber),
      "STREAMNORM_MIN_FREE_DISK_BYTES");
  env(app->add_option("--max_message_bytes", limits.max_message_bytes,
                      "Largest request and answer")
          ->check(CLI::Range(uint64_t{1} << 10, uint64_t{1} << 30)),
      "STREAMNORM_MAX_MESSAGE_BYTES");
  env(app->add_option("--max_features", limits.max_features,
                      "Features of one normalizer")
          ->check(CLI::PositiveNumber),
      "STREAMNORM_MAX_FEATURES");
  env(app->add_option("--max_normalizers", limits.max_normalizers,
                      "Normalizers")
          ->check(CLI::PositiveNumber),
      "STREAMNORM_MAX_NORMALIZERS");
  env(app->add_option("--max_total_features", limits.max_total_features,
                      "Features of all normalizers and snapshots together, "
                      "48 bytes each")
          ->check(CLI::PositiveNumber),
      "STREAMNORM_MAX_TOTAL_FEATURES");
  env(app->add_option("--max_total_definition_bytes",
                      limits.max_total_definition_bytes,
                      "Feature names, labels and priors of all normalizers "
                      "together")
          ->check(CLI::PositiveNumber),
      "STREAMNORM_MAX_TOTAL_DEFINITION_BYTES");
  env(app->add_option("--max_snapshots", limits.max_snapshots,
                      "Snapshots of one normalizer")
          ->check(CLI::PositiveNumber),
      "STREAMNORM_MAX_SNAPSHOTS");
  env(app->add_option("--max_sessions", limits.max_sessions, "Living sessions")
          ->check(CLI::PositiveNumber),
      "STREAMNORM_MAX_SESSIONS");
  env(app->add_option("--max_ledgers", limits.max_ledgers,
                      "Ledgers of all sessions, one per normalizer that a "
                      "session updates, up to 8.5 KiB each")
          ->check(CLI::PositiveNumber),
      "STREAMNORM_MAX_LEDGERS");
  env(app->add_option("--session_idle_timeout_s", limits.session_idle_timeout_s,
                      "A session unused for this long while the server ran "
                      "ends; its rows stay. 0 = never")
          ->check(CLI::Range(0, 10 * 365 * 24 * 3600)),
      "STREAMNORM_SESSION_IDLE_TIMEOUT_S");
  env(app->add_option("--max_lane_connections", limits.max_lane_connections,
                      "Connections of the lane, a thread each; further clients "
                      "go through gRPC")
          ->check(CLI::Range(0, 100'000)),
      "STREAMNORM_MAX_LANE_CONNECTIONS");
  env(app->add_option("--max_concurrent_streams",
                      flags->server.max_concurrent_streams,
                      "Calls one connection may have open")
          ->check(CLI::PositiveNumber),
      "STREAMNORM_MAX_CONCURRENT_STREAMS");
  env(app->add_option("--max_buffer_bytes", flags->server.max_buffer_bytes,
                      "Requests and answers on their way, of all connections")
          ->check(CLI::Range(uint64_t{16} << 20, uint64_t{1} << 40)),
      "STREAMNORM_MAX_BUFFER_BYTES");
  env(app->add_option("--drain_timeout_s", flags->drain_timeout_s,
                      "How long a stopping server waits for calls to end")
          ->check(CLI::Range(0, 3600)),
      "STREAMNORM_DRAIN_TIMEOUT_S");
  env(app->add_option("--log_level", flags->log_level)
          ->check(CLI::IsMember({"debug", "info", "warning", "error"})),
      "STREAMNORM_LOG_LEVEL");
}

// Without a path of its own the lane is in the data directory, where that is
// short enough for a socket.
void CompleteLane(Flags* flags) {
  const std::string& data_dir = flags->rocksdb.data_dir;
  if (flags->lane == "none") return;
  flags->server.lane = flags->lane;
  if (!flags->lane.empty() || flags->store != "rocksdb") return;
  const auto directory = std::filesystem::absolute(data_dir);
  const std::string path = directory.string() + "/streamnorm.lane";
  if (path.size() <= kMaxSocketPathBytes) flags->server.lane = path;
}

// Fills in what depends on other flags. Returns what is wrong, or "".
std::string Complete(Flags* flags) {
  if (flags->store == "rocksdb" && flags->rocksdb.data_dir.empty()) {
    return "--data_dir: not set, want the directory for the statistics (or "
           "--store=memory, with which nothing survives the process)";
  }
  if (flags->store != "rocksdb" &&
      (flags->verify || !flags->restore_from.empty() ||
       !flags->server.backup_dir.empty())) {
    return "--store: " + flags->store +
           ", want rocksdb with --backup_dir, --restore_from and --verify";
  }
  if (flags->verify && !flags->restore_from.empty()) {
    return "--verify: given with --restore_from, want one of them";
  }
  if (flags->server.listen.empty()) {
    flags->server.listen = {"127.0.0.1:50051"};
    if (!flags->rocksdb.data_dir.empty()) {
      const auto directory = std::filesystem::absolute(flags->rocksdb.data_dir);
      flags->server.listen.push_back("unix:" + directory.string() +
                                     "/streamnorm.sock");
    }
  }
  CompleteLane(flags);
  if (flags->http_listen != "none") {
    flags->server.http_listen = flags->http_listen;
  }
  flags->server.commit.commit_interval =
      std::chrono::milliseconds(flags->commit_interval_ms);
  flags->server.drain_timeout = std::chrono::seconds(flags->drain_timeout_s);
  flags->server.on_store_failure = [](const absl::Status&) {
    // Whatever is in memory and not on disk, its client still has; a new
    // process finds out what is on disk. A second fsync could lie.
    FlushLog();
    _exit(kExitStoreFailed);
  };
  return "";
}

absl::StatusOr<std::unique_ptr<StatisticsStore>> OpenStore(const Flags& flags) {
  if (flags.store == "memory") return NewMemoryStore();
  return OpenRocksdbStore(flags.rocksdb);
}

int Report(const absl::Status& status) {
  std::fprintf(stderr, "streamnorm-server: %s\n",
               std::string(status.message()).c_str());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kDataLoss:
      return kExitDataLoss;
    case absl::StatusCode::kUnavailable:
      return kExitUnavailable;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:  // what to verify or to restore
      return kExitNoStore;
    default:
      return kExitFailed;
  }
}

// Progress of work that nobody else is told about.
absl::Status GoOn(const StoreProgress&) { return absl::OkStatus(); }

int Verify(const std::string& data_dir) {
  const absl::StatusOr<VerifyReport> report =
      VerifyDataDirectory(data_dir, GoOn);
  if (!report.ok()) return Report(report.status());
  std::printf("tables: %" PRIu64 ", %" PRIu64 " bytes\n", report->tables,
              report->table_bytes);
  std::printf("records: %" PRIu64 " (%" PRIu64 " normalizers, %" PRIu64
              " sessions, %" PRIu64 " ledgers)\n",
              report->records, report->normalizers, report->sessions,
              report->ledgers);
  for (const DamagedRecord& record : report->damaged) {
    const std::string normalizer =
        record.normalizer_id.empty()
            ? ""
            : NormalizerName(record.normalizer_id) + ": ";
    std::printf("damaged: %s%s\n", normalizer.c_str(), record.problem.c_str());
  }
  std::printf("damaged: %" PRIu64 "\n", report->damaged_count);
  return report->clean() ? kExitOk : kExitDataLoss;
}

int Restore(const std::string& backup, const std::string& data_dir) {
  const absl::StatusOr<BackupSummary> restored =
      RestoreBackup(backup, data_dir, GoOn);
  if (!restored.ok()) return Report(restored.status());
  std::printf("restored %" PRIu64 " normalizers and %" PRIu64
              " sessions to %s, history %s\n",
              restored->normalizers, restored->sessions, data_dir.c_str(),
              HexOf(restored->history_id).c_str());
  return kExitOk;
}

// After the store: in a data directory it is not the first thing to be made.
absl::Status MakeBackupDirectory(const std::string& path) {
  return path.empty() ? absl::OkStatus() : CreateDirectory(path);
}

// Waits for one of `signals`. The main thread has nothing else to do, so it
// also looks for sessions that expired: neither a request nor a commit waits
// for it.
int WaitForSignal(const sigset_t& signals, Server* server) {
  constexpr timespec kInterval{.tv_sec = 1, .tv_nsec = 0};
  while (true) {
    const int signal_number = sigtimedwait(&signals, nullptr, &kInterval);
    if (signal_number > 0) return signal_number;
    server->ExpireIdleSessions();
  }
}

int Main(int argc, char** argv) {
  // Before any thread exists (grpc_init makes some), so that none of them gets
  // the signals: they are for WaitForSignal, however early they come.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  TuneProcess();
  // Never given back: ending gRPC can take seconds, and the process ends
  // anyway.
  grpc_init();
  Flags flags;
  flags.server.commit.min_free_disk_bytes = uint64_t{256} << 20;
  CLI::App app(
      "StreamNorm: running mean and variance per feature, for training jobs "
      "whose batches are too small to have their own.",
      "streamnorm-server");
  AddFlags(&app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (const std::string wrong = Complete(&flags); !wrong.empty()) {
    return Report(absl::InvalidArgumentError(wrong));
  }
  SetLogLevel(flags.log_level);

  if (flags.verify) return Verify(flags.rocksdb.data_dir);
  if (!flags.restore_from.empty()) {
    return Restore(flags.restore_from, flags.rocksdb.data_dir);
  }
  auto store = OpenStore(flags);
  if (!store.ok()) return Report(store.status());
  const auto made = MakeBackupDirectory(flags.server.backup_dir);
  if (!made.ok()) return Report(made);
  auto server = Server::Start(flags.server, *std::move(store));
  if (!server.ok()) return Report(server.status());
  ReleaseUnusedMemory();
  for (const std::string& address : (*server)->addresses()) {
    std::printf("listening on %s\n", address.c_str());
  }
  if (!(*server)->http_address().empty()) {
    std::printf("listening on http://%s\n", (*server)->http_address().c_str());
  }
  std::fflush(stdout);

  const int signal_number = WaitForSignal(signals, server->get());
  Log(LogLevel::kInfo, "stopping", {{"signal", signal_number}});
  (*server)->Shutdown();
  Log(LogLevel::kInfo, "stopped", {});
  return kExitOk;
}

}  // namespace
}  // namespace streamnorm

int main(int argc, char** argv) { return streamnorm::Main(argc, argv); }
