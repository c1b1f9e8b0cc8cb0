// streamnorm-put-per-request: StreamNorm, but every update is put into RocksDB
// before its answer, as a server without a committer would do it. What the
// background commit is measured against (streamnorm bench durability).

#include <grpc/grpc.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "server/normalizer.h"
#include "server/process_tuning.h"
#include "server/server.h"
#include "storage/key_codec.h"
#include "storage/record_codec.h"

namespace streamnorm {
namespace {

// RocksDB as it comes: one batch per request, synced or not. Safe for
// concurrent use, so that RocksDB can write requests of several threads as
// one. Nothing is ever read back.
class PlainStore : public StatisticsStore {
 public:
  PlainStore(std::unique_ptr<rocksdb::DB> db, bool sync)
      : db_(std::move(db)), sync_(sync) {}

  std::string_view kind() const override { return "put-per-request"; }
  absl::StatusOr<StoreContents> Load() override {
    StoreContents contents;
    contents.incarnation = 1;
    return contents;
  }
  absl::Status Write(const CommitBatch& batch) override;
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::StatusOr<uint64_t> SizeBytes() const override { return 0; }
  absl::StatusOr<uint64_t> FreeBytes() const override { return 1 << 30; }
  absl::StatusOr<BackupSummary> Backup(const BackupOptions&,
                                       const OnStoreProgress&) const override {
    return absl::UnimplementedError("backup");
  }
  absl::StatusOr<VerifyReport> Verify(const OnStoreProgress&) const override {
    return absl::UnimplementedError("verify");
  }

 private:
  const std::unique_ptr<rocksdb::DB> db_;
  const bool sync_;
};

absl::Status PlainStore::Write(const CommitBatch& batch) {
  rocksdb::WriteBatch writes;
  std::string value;
  rocksdb::Status status;
  const auto put = [&](const std::string& key, const auto& record) {
    Encode(key, record, &value);
    if (status.ok()) status = writes.Put(key, value);
  };
  for (const auto& d : batch.definitions) put(DefinitionKey(d.id), d);
  for (const auto& s : batch.states) put(StateKey(s.id), s);
  for (const auto& s : batch.sessions) put(SessionKey(s.id), s);
  for (const auto& l : batch.ledgers) {
    put(LedgerKey(l.normalizer_id, l.session), l);
  }
  rocksdb::WriteOptions options;
  options.sync = sync_;
  if (status.ok()) status = db_->Write(options, &writes);
  return status.ok() ? absl::OkStatus()
                     : absl::InternalError(status.ToString());
}

StatisticsStore* the_store = nullptr;

}  // namespace

// Called by the handler, which is compiled for this program, after each update.
void PutNow(Normalizer* normalizer) {
  CommitBatch batch;
  const auto watermarks = normalizer->Capture(&batch);
  if (const auto s = the_store->Write(batch); !s.ok()) {
    std::fprintf(stderr, "%s\n", s.ToString().c_str());
    std::abort();
  }
  normalizer->PublishDurable(watermarks);
}

namespace {

absl::StatusOr<std::unique_ptr<StatisticsStore>> OpenPlainStore(
    const std::string& data_dir, bool sync) {
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, data_dir, &db);
  if (!status.ok()) return absl::InternalError(status.ToString());
  return std::make_unique<PlainStore>(std::unique_ptr<rocksdb::DB>(db), sync);
}

int Main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  TuneProcess();
  grpc_init();
  CLI::App app("StreamNorm with one RocksDB put per update",
               "streamnorm-put-per-request");
  ServerOptions options;
  std::string data_dir;
  bool sync = false;
  app.add_option("--listen", options.listen)->required();
  app.add_option("--data_dir", data_dir)->required();
  app.add_flag("--sync", sync, "Sync each put");
  CLI11_PARSE(app, argc, argv);
  // Every update is there already; this is for what is not an update.
  options.commit.commit_interval = std::chrono::hours(1);
  auto store = OpenPlainStore(data_dir, sync);
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  the_store = store->get();
  auto server = Server::Start(options, *std::move(store));
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  std::printf("listening on %s\n", (*server)->addresses().front().c_str());
  std::fflush(stdout);
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  (*server)->Shutdown();
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace streamnorm

int main(int argc, char** argv) { return streamnorm::Main(argc, argv); }
