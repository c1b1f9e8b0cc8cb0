#include "server/maintenance.h"

#include <filesystem>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/validation.h"
#include "server/wire.h"

namespace streamnorm {
namespace {

absl::Status ShuttingDown() {
  return MakeError(Reason::kShuttingDown, "the server is shutting down");
}

Reason ReasonOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kAlreadyExists:
      return Reason::kBackupExists;
    case absl::StatusCode::kResourceExhausted:
      return Reason::kBackupNoSpace;
    case absl::StatusCode::kDataLoss:
      return Reason::kStoreDamaged;
    case absl::StatusCode::kFailedPrecondition:
      return Reason::kStoreNotOnDisk;
    case absl::StatusCode::kUnavailable:  // another server has that directory
      return Reason::kMaintenanceRunning;
    default:
      return Reason::kMaintenanceFailed;
  }
}

// What the store says, with a reason. What Watcher::send or Stop ended the work
// with stays as it is.
absl::Status WithReason(const absl::Status& status) {
  bool has_reason = absl::IsCancelled(status);
  status.ForEachPayload(
      [&](absl::string_view, const absl::Cord&) { has_reason = true; });
  if (has_reason) return status;
  return MakeError(ReasonOf(status.code()), status.message());
}

void Fill(const BackupSummary& summary, const std::string& path,
          v1::Backup* backup) {
  backup->set_path(path);
  *backup->mutable_create_time() = ToTimestamp(summary.create_time_us);
  backup->set_bytes(static_cast<int64_t>(summary.bytes));
  backup->set_sequence(summary.sequence);
  backup->set_records(static_cast<int64_t>(summary.records));
  backup->set_normalizers(static_cast<int64_t>(summary.normalizers));
  backup->set_sessions(static_cast<int64_t>(summary.sessions));
  backup->set_history_id(summary.history_id.data(), summary.history_id.size());
}

void Fill(const VerifyReport& found, v1::StoreReport* report) {
  report->set_tables(static_cast<int64_t>(found.tables));
  report->set_table_bytes(static_cast<int64_t>(found.table_bytes));
  report->set_records(static_cast<int64_t>(found.records));
  report->set_normalizers(static_cast<int64_t>(found.normalizers));
  report->set_sessions(static_cast<int64_t>(found.sessions));
  report->set_ledgers(static_cast<int64_t>(found.ledgers));
  report->set_damaged_count(static_cast<int64_t>(found.damaged_count));
  for (const DamagedRecord& record : found.damaged) {
    v1::DamagedRecord* damaged = report->add_damaged();
    if (!record.normalizer_id.empty()) {
      damaged->set_normalizer(NormalizerName(record.normalizer_id));
    }
    damaged->set_problem(record.problem);
  }
}

void LogEnd(const char* event, const absl::Status& status) {
  if (status.ok()) return Log(LogLevel::kInfo, event, {});
  Log(LogLevel::kWarning, event, {{"status", status.ToString()}});
}

}  // namespace

Maintenance::Maintenance(const Options& options, const StatisticsStore* store)
    : options_(options), store_(store), thread_([this] { Run(); }) {}

void Maintenance::CreateBackup(const v1::CreateBackupRequest& request,
                               Watcher<v1::CreateBackupResponse> watcher) {
  absl::Status status = CheckRequest(request);
  if (status.ok()) {
    status = Begin([this, id = request.backup_id(), watcher] {
      const absl::Status ended = Backup(id, watcher);
      LogEnd("backup_ended", ended);
      return [watcher, ended] { watcher.done(ended); };
    });
  }
  if (!status.ok()) watcher.done(status);
}

void Maintenance::VerifyStore(const v1::VerifyStoreRequest&,
                              Watcher<v1::VerifyStoreResponse> watcher) {
  const absl::Status status = Begin([this, watcher] {
    const absl::Status ended = Verify(watcher);
    LogEnd("verification_ended", ended);
    return [watcher, ended] { watcher.done(ended); };
  });
  if (!status.ok()) watcher.done(status);
}

absl::Status Maintenance::CheckRequest(
    const v1::CreateBackupRequest& request) const {
  absl::Status status = CheckBackupId("backup_id", request.backup_id());
  if (!status.ok() || !options_.backup_dir.empty()) return status;
  return MakeError(Reason::kBackupsDisabled,
                   "--backup_dir: not set, want the directory for backups "
                   "(a flag of streamnorm-server)");
}

absl::Status Maintenance::Begin(Job job) {
  MutexLock lock(&mu_);
  if (stopping_) return ShuttingDown();
  if (running_) {
    return MakeError(Reason::kMaintenanceRunning,
                     "a backup or a verification is running, want none: try "
                     "again when it is over");
  }
  running_ = true;
  job_ = std::move(job);
  changed_.notify_one();
  return absl::OkStatus();
}

void Maintenance::Run() {
  while (true) {
    Job job;
    {
      MutexLock lock(&mu_);
      {
        std::unique_lock<std::mutex> native(mu_.native(), std::adopt_lock);
        while (!job_ && !stopping_) changed_.wait(native);
        native.release();  // stays locked until `lock` ends
      }
      if (!job_) return;
      job = std::exchange(job_, nullptr);
    }
    const std::function<void()> tell = job();
    {
      MutexLock lock(&mu_);
      running_ = false;
    }
    tell();  // whoever hears it may ask for the next one
  }
}

void Maintenance::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

template <typename Response>
OnStoreProgress Maintenance::ProgressTo(
    const Watcher<Response>& watcher) const {
  return [this, &watcher](const StoreProgress& progress) {
    if (stopping_) return ShuttingDown();
    Response response;
    auto* proto = response.mutable_progress();
    proto->set_bytes(static_cast<int64_t>(progress.bytes));
    proto->set_total_bytes(static_cast<int64_t>(progress.total_bytes));
    proto->set_records(static_cast<int64_t>(progress.records));
    return watcher.send(response);
  };
}

absl::Status Maintenance::Backup(
    const std::string& backup_id,
    const Watcher<v1::CreateBackupResponse>& watcher) const {
  const std::string path =
      std::filesystem::absolute(options_.backup_dir) / backup_id;
  const absl::StatusOr<BackupSummary> summary =
      store_->Backup({path, options_.min_free_disk_bytes}, ProgressTo(watcher));
  if (!summary.ok()) return WithReason(summary.status());
  v1::CreateBackupResponse response;
  Fill(*summary, path, response.mutable_backup());
  return watcher.send(response);
}

absl::Status Maintenance::Verify(
    const Watcher<v1::VerifyStoreResponse>& watcher) const {
  const absl::StatusOr<VerifyReport> found =
      store_->Verify(ProgressTo(watcher));
  if (!found.ok()) return WithReason(found.status());
  if (!found->clean()) {
    Log(LogLevel::kError, "store_damaged",
        {{"damaged", found->damaged_count},
         {"first", found->damaged.front().problem}});
  }
  v1::VerifyStoreResponse response;
  Fill(*found, response.mutable_report());
  return watcher.send(response);
}

}  // namespace streamnorm
