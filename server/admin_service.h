#ifndef STREAMNORM_SERVER_ADMIN_SERVICE_H_
#define STREAMNORM_SERVER_ADMIN_SERVICE_H_

#include <chrono>
#include <string>

#include "server/committer.h"
#include "server/limits.h"
#include "server/maintenance.h"
#include "server/metrics.h"
#include "server/registry.h"
#include "server/sessions.h"
#include "streamnorm/v1/admin_service.grpc.pb.h"

namespace streamnorm {

// The gRPC face of the server itself and of its store. Safe for concurrent use.
class AdminService final : public v1::AdminService::CallbackService {
 public:
  struct Info {
    std::string store;
    HistoryId history_id{};
    uint64_t incarnation = 0;
    Limits limits;
    std::string lane;  // the path of its socket; empty = none
  };

  // All pointers outlive it.
  AdminService(const Info& info, const Registry* registry,
               const SessionTable* sessions, const Committer* committer,
               Maintenance* maintenance);

  const RpcMetricsTable& rpcs() const { return rpcs_; }
  int64_t start_time_us() const { return start_time_us_; }

  grpc::ServerUnaryReactor* GetServerInfo(
      grpc::CallbackServerContext* context,
      const v1::GetServerInfoRequest* request,
      v1::ServerInfo* response) override;
  grpc::ServerWriteReactor<v1::CreateBackupResponse>* CreateBackup(
      grpc::CallbackServerContext* context,
      const v1::CreateBackupRequest* request) override;
  grpc::ServerWriteReactor<v1::VerifyStoreResponse>* VerifyStore(
      grpc::CallbackServerContext* context,
      const v1::VerifyStoreRequest* request) override;

 private:
  const Info info_;
  const Registry* const registry_;
  const SessionTable* const sessions_;
  const Committer* const committer_;
  Maintenance* const maintenance_;
  RpcMetricsTable rpcs_;
  const int64_t start_time_us_;
  const std::chrono::steady_clock::time_point start_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_ADMIN_SERVICE_H_
