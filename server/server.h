#ifndef STREAMNORM_SERVER_SERVER_H_
#define STREAMNORM_SERVER_SERVER_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/server.h"
#include "server/admin_service.h"
#include "server/commit_queue.h"
#include "server/committer.h"
#include "server/handler.h"
#include "server/http_endpoint.h"
#include "server/lane_server.h"
#include "server/limits.h"
#include "server/maintenance.h"
#include "server/normalizer_service.h"
#include "server/registry.h"
#include "server/session_handler.h"
#include "server/sessions.h"
#include "server/side_port.h"
#include "server/snapshot_handler.h"
#include "storage/statistics_store.h"

namespace streamnorm {

struct ServerOptions {
  // `host:port` (port 0: one that is free) or `unix:/path`.
  std::vector<std::string> listen;

  // Allow listening beyond loopback although there is no TLS yet.
  bool insecure = false;

  // The path of the lane's socket; empty = none.
  std::string lane;

  // `host:port` for metrics and health over HTTP; empty = nowhere.
  std::string http_listen;

  bool auto_create = false;
  Limits limits;
  Committer::Options commit;
  Committer::OnFailure on_store_failure;

  // Where backups go; empty = nowhere.
  std::string backup_dir;

  // Streams one connection may have open: enough for a training cluster behind
  // one proxy.
  int max_concurrent_streams = 1000;

  // What gRPC may keep of requests and answers on their way, for all
  // connections; beyond it calls are refused or cut. 16 of the largest
  // messages.
  uint64_t max_buffer_bytes = uint64_t{1} << 30;

  // How long Shutdown waits for requests that are being answered.
  std::chrono::seconds drain_timeout{10};
};

// The whole service in one process: everything main() doesn't do.
// Members are declared in the order in which they depend on one another.
class Server {
 public:
  // Loads what the store remembers and starts to listen.
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const ServerOptions& options, std::unique_ptr<StatisticsStore> store);

  // Calls Shutdown.
  ~Server();

  // Where it listens, with real port numbers.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // Likewise for HTTP; empty = nowhere.
  const std::string& http_address() const { return http_address_; }

  // Ends sessions that nobody used for limits.session_idle_timeout_s. To be
  // called once a second or so.
  void ExpireIdleSessions();

  // Answers what is being answered, ends the streams, commits the rest.
  void Shutdown();

 private:
  Server(const ServerOptions& options, std::unique_ptr<StatisticsStore> store,
         StoreContents contents);
  absl::Status Listen();
  absl::Status OpenLane(const HistoryId& history_id, uint64_t incarnation);
  void OpenSidePort(std::unique_ptr<HttpEndpoint> http);

  const ServerOptions options_;
  const std::unique_ptr<StatisticsStore> store_;
  CommitQueue queue_;
  SessionTable sessions_;
  Registry registry_;
  std::unique_ptr<Committer> committer_;
  Maintenance maintenance_;
  Handler handler_;
  SessionHandler session_handler_;
  SnapshotHandler snapshot_handler_;
  NormalizerService normalizer_service_;
  AdminService admin_service_;
  std::unique_ptr<LaneServer> lane_;
  std::unique_ptr<grpc::Server> grpc_server_;
  std::vector<std::string> addresses_;
  std::unique_ptr<SidePort> side_port_;
  std::unique_ptr<HttpEndpoint> http_;  // none before it is done
  std::string http_address_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_SERVER_H_
