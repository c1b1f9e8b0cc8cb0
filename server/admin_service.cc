#include "server/admin_service.h"

#include "server/clock.h"
#include "server/maintenance_call.h"
#include "server/version.h"
#include "server/wire.h"

namespace streamnorm {
namespace {

google::protobuf::Duration ToDuration(std::chrono::microseconds time) {
  google::protobuf::Duration duration;
  duration.set_seconds(time.count() / 1'000'000);
  duration.set_nanos(static_cast<int32_t>(time.count() % 1'000'000) * 1000);
  return duration;
}

size_t IndexOf(const char* method) {
  return RpcMetricsTable::IndexOf(v1::AdminService::service_full_name(),
                                  method);
}

}  // namespace

AdminService::AdminService(const Info& info, const Registry* registry,
                           const SessionTable* sessions,
                           const Committer* committer, Maintenance* maintenance)
    : info_(info),
      registry_(registry),
      sessions_(sessions),
      committer_(committer),
      maintenance_(maintenance),
      rpcs_(v1::AdminService::service_full_name()),
      start_time_us_(NowMicros()),
      start_(std::chrono::steady_clock::now()) {}

grpc::ServerUnaryReactor* AdminService::GetServerInfo(
    grpc::CallbackServerContext* context, const v1::GetServerInfoRequest*,
    v1::ServerInfo* response) {
  static const size_t index = IndexOf("GetServerInfo");
  const auto begun = rpcs_.at(index)->Begin();
  response->set_version(kVersion);
  response->set_store(info_.store);
  *response->mutable_start_time() = ToTimestamp(start_time_us_);
  *response->mutable_uptime() =
      ToDuration(std::chrono::duration_cast<std::chrono::microseconds>(
          std::chrono::steady_clock::now() - start_));
  response->set_history_id(info_.history_id.data(), info_.history_id.size());
  response->set_incarnation(info_.incarnation);
  response->set_normalizers(static_cast<int64_t>(registry_->size()));
  response->set_sessions(static_cast<int64_t>(sessions_->size()));
  response->set_commits(committer_->commits());
  *response->mutable_last_commit_duration() =
      ToDuration(committer_->last_commit_duration());
  response->set_accepting_updates(committer_->AcceptingUpdates().ok());
  for (const std::string& id : registry_->quarantined()) {
    response->add_quarantined("normalizers/" + id);
  }
  response->set_lane(info_.lane);
  auto& limits = *response->mutable_limits();
  const auto add = [&](const char* flag, uint64_t value) {
    limits[flag] = static_cast<int64_t>(value);
  };
  add("max_message_bytes", info_.limits.max_message_bytes);
  add("max_features", info_.limits.max_features);
  add("max_normalizers", info_.limits.max_normalizers);
  add("max_total_features", info_.limits.max_total_features);
  add("max_total_definition_bytes", info_.limits.max_total_definition_bytes);
  add("max_sessions", info_.limits.max_sessions);
  add("max_snapshots", info_.limits.max_snapshots);
  add("max_ledgers", info_.limits.max_ledgers);
  add("session_idle_timeout_s", info_.limits.session_idle_timeout_s);
  add("max_lane_connections", info_.limits.max_lane_connections);
  auto* reactor = context->DefaultReactor();
  rpcs_.at(index)->End(begun, absl::StatusCode::kOk);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<v1::CreateBackupResponse>* AdminService::CreateBackup(
    grpc::CallbackServerContext*, const v1::CreateBackupRequest* request) {
  static const size_t index = IndexOf("CreateBackup");
  auto* call = new MaintenanceCall<v1::CreateBackupResponse>(rpcs_.at(index));
  maintenance_->CreateBackup(*request, call->watcher());
  return call;
}

grpc::ServerWriteReactor<v1::VerifyStoreResponse>* AdminService::VerifyStore(
    grpc::CallbackServerContext*, const v1::VerifyStoreRequest* request) {
  static const size_t index = IndexOf("VerifyStore");
  auto* call = new MaintenanceCall<v1::VerifyStoreResponse>(rpcs_.at(index));
  maintenance_->VerifyStore(*request, call->watcher());
  return call;
}

}  // namespace streamnorm
