#include "server/server.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "grpcpp/ext/channelz_service_plugin.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "server/errors.h"
#include "server/logging.h"

namespace streamnorm {
namespace {

// Ours are a few hundred bytes.
constexpr int kMaxMetadataBytes = 8 << 10;

// Room for the fields around a tensor of max_message_bytes.
constexpr uint64_t kMessageOverheadBytes = 4096;

// A peer that is gone without a word is noticed after this long.
constexpr int kKeepaliveMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 10'000;

// Clients may do the same, but not more often.
constexpr int kMinPingIntervalMs = 10'000;

// For the last answers to leave after everything is answered.
constexpr std::chrono::milliseconds kGoodbye{200};

bool IsLoopback(absl::string_view address) {
  return absl::StartsWith(address, "unix:") ||
         absl::StartsWith(address, "127.") ||
         absl::StartsWith(address, "localhost:") ||
         absl::StartsWith(address, "[::1]:");
}

// `want` says what `flag` takes.
absl::Status CheckHostAndPort(absl::string_view flag,
                              const std::string& address, bool insecure,
                              absl::string_view want) {
  if (absl::StartsWith(address, "unix:") ||
      address.find(':') == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, ": ", address, ", want ", want));
  }
  if (IsLoopback(address) || insecure) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      flag, ": ", address,
      ", want a loopback address: there is no TLS and no authentication yet, "
      "so anyone who reaches it could read or change what is behind it; "
      "--insecure allows it on a network you trust"));
}

absl::Status CheckAddress(const std::string& address, bool insecure) {
  if (absl::StartsWith(address, "unix:")) {
    // sockaddr_un holds 107 bytes and a zero.
    constexpr size_t kLongest = 107;
    const size_t size = address.size() - sizeof("unix:") + 1;
    if (size <= kLongest) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("--listen: ", address, ": a path of ", size,
                     " bytes, want at most ", kLongest));
  }
  return CheckHostAndPort("--listen", address, insecure,
                          "host:port or unix:/path");
}

// Before the store is read, which may take long: probes see it starting.
absl::StatusOr<std::unique_ptr<HttpEndpoint>> StartHttp(
    const ServerOptions& options) {
  const std::string& address = options.http_listen;
  if (auto s = CheckHostAndPort("--http_listen", address, options.insecure,
                                "host:port or none");
      !s.ok()) {
    return s;
  }
  auto http = HttpEndpoint::Start(address, &SidePort::AnswerWhileStarting);
  if (http.ok()) return http;
  return absl::UnavailableError(absl::StrCat("--http_listen: can't listen on ",
                                             address, ": ",
                                             http.status().message()));
}

std::string WithPort(const std::string& address, int port) {
  if (absl::StartsWith(address, "unix:")) return address;
  return absl::StrCat(address.substr(0, address.rfind(':') + 1), port);
}

// Once per process, before the first server is built.
void InitPlugins() {
  static const bool done = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::channelz::experimental::InitChannelzService();
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const ServerOptions& options, std::unique_ptr<StatisticsStore> store) {
  for (const std::string& address : options.listen) {
    if (auto s = CheckAddress(address, options.insecure); !s.ok()) return s;
  }
  std::unique_ptr<HttpEndpoint> http;
  if (!options.http_listen.empty()) {
    auto started = StartHttp(options);
    if (!started.ok()) return started.status();
    http = *std::move(started);
  }
  auto contents = store->Load();
  if (!contents.ok()) return contents.status();
  const HistoryId history_id = contents->history_id;
  const uint64_t incarnation = contents->incarnation;
  std::unique_ptr<Server> server(
      new Server(options, std::move(store), *std::move(contents)));
  if (auto s = server->Listen(); !s.ok()) return s;
  if (auto s = server->OpenLane(history_id, incarnation); !s.ok()) return s;
  if (http != nullptr) server->OpenSidePort(std::move(http));
  return server;
}

Server::Server(const ServerOptions& options,
               std::unique_ptr<StatisticsStore> store, StoreContents contents)
    : options_(options),
      store_(std::move(store)),
      sessions_({.max_sessions = options.limits.max_sessions,
                 .max_ledgers = options.limits.max_ledgers}),
      registry_(
          {options.limits.max_normalizers, options.limits.max_total_features,
           options.limits.max_total_definition_bytes,
           options.limits.max_snapshots},
          &queue_),
      committer_(std::make_unique<Committer>(
          options.commit, store_.get(), &queue_, options.on_store_failure)),
      maintenance_({options.backup_dir, options.commit.min_free_disk_bytes},
                   store_.get()),
      handler_({options.limits, options.auto_create, contents.history_id,
                contents.incarnation},
               &registry_, &sessions_, &queue_, committer_.get()),
      session_handler_(contents.history_id, contents.incarnation, &registry_,
                       &sessions_, &queue_, committer_.get()),
      snapshot_handler_(options.limits.max_message_bytes, &registry_, &queue_,
                        committer_.get()),
      normalizer_service_(&handler_, &session_handler_, &snapshot_handler_),
      admin_service_({std::string(store_->kind()), contents.history_id,
                      contents.incarnation, options.limits, options.lane},
                     &registry_, &sessions_, committer_.get(), &maintenance_) {
  for (const QuarantinedNormalizer& damaged : contents.quarantined) {
    Log(LogLevel::kError, "normalizer_quarantined",
        {{"normalizer", damaged.id}, {"reason", damaged.reason}});
  }
  for (const auto& normalizer : contents.normalizers) {
    for (const DamagedSnapshot& damaged : normalizer.damaged_snapshots) {
      Log(LogLevel::kError, "snapshot_damaged",
          {{"normalizer", normalizer.definition.id},
           {"snapshot", damaged.id},
           {"reason", damaged.reason}});
    }
  }
  const size_t normalizers = contents.normalizers.size();
  const size_t quarantined = contents.quarantined.size();
  const uint64_t incarnation = contents.incarnation;
  registry_.Restore(std::move(contents), &sessions_);
  Log(LogLevel::kInfo, "store_loaded",
      {{"store", std::string(store_->kind())},
       {"normalizers", normalizers},
       {"sessions", sessions_.size()},
       {"ledgers", sessions_.ledgers()},
       {"quarantined", quarantined},
       {"incarnation", incarnation}});
}

absl::Status Server::Listen() {
  InitPlugins();
  grpc::ServerBuilder builder;
  const auto message_bytes = static_cast<int>(
      std::min<uint64_t>(options_.limits.max_message_bytes, 1 << 30) +
      kMessageOverheadBytes);
  builder.SetMaxReceiveMessageSize(message_bytes);
  builder.SetMaxSendMessageSize(message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             options_.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      kMinPingIntervalMs);
  grpc::ResourceQuota buffers("streamnorm");
  buffers.Resize(options_.max_buffer_bytes);
  builder.SetResourceQuota(buffers);
  // A second server on the same port must fail, not take half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  std::vector<int> ports(options_.listen.size());
  for (size_t i = 0; i < options_.listen.size(); ++i) {
    builder.AddListeningPort(options_.listen[i],
                             grpc::InsecureServerCredentials(), &ports[i]);
  }
  builder.RegisterService(&normalizer_service_);
  builder.RegisterService(&admin_service_);
  grpc_server_ = builder.BuildAndStart();
  for (size_t i = 0; i < ports.size(); ++i) {
    if (grpc_server_ != nullptr && ports[i] != 0) continue;
    return absl::UnavailableError(
        absl::StrCat("--listen: can't listen on ", options_.listen[i],
                     "; is another server using it, or may this user not?"));
  }
  for (const char* service :
       {"streamnorm.v1.NormalizerService", "streamnorm.v1.AdminService"}) {
    grpc_server_->GetHealthCheckService()->SetServingStatus(service, true);
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    addresses_.push_back(WithPort(options_.listen[i], ports[i]));
    Log(LogLevel::kInfo, "listening",
        {{"address", addresses_.back()}, {"insecure", options_.insecure}});
  }
  return absl::OkStatus();
}

absl::Status Server::OpenLane(const HistoryId& history_id,
                              uint64_t incarnation) {
  if (options_.lane.empty()) return absl::OkStatus();
  LaneServer::Options options;
  options.path = options_.lane;
  options.max_connections = options_.limits.max_lane_connections;
  options.max_message_bytes =
      options_.limits.max_message_bytes + kMessageOverheadBytes;
  options.hello = {kLaneMagic, history_id, incarnation};
  auto lane = LaneServer::Start(options, &handler_);
  if (!lane.ok()) {
    return absl::UnavailableError(
        absl::StrCat("--lane: ", lane.status().message()));
  }
  lane_ = *std::move(lane);
  Log(LogLevel::kInfo, "listening", {{"lane", options.path}});
  return absl::OkStatus();
}

void Server::OpenSidePort(std::unique_ptr<HttpEndpoint> http) {
  const MetricsSources sources = {
      .store = store_.get(),
      .committer = committer_.get(),
      .registry = &registry_,
      .sessions = &sessions_,
      .handler = &handler_,
      .normalizer_service = &normalizer_service_,
      .admin_service = &admin_service_,
      .lane = lane_.get(),
  };
  side_port_ = std::make_unique<SidePort>(&handler_, sources);
  http_ = std::move(http);
  http_->SetHandler([this](const HttpRequest& request) {
    return side_port_->Answer(request);
  });
  http_address_ = http_->address();
  Log(LogLevel::kInfo, "listening", {{"http", http_address_}});
}

Server::~Server() { Shutdown(); }

void Server::ExpireIdleSessions() {
  // Each costs the committer a write of the normalizers it updated. So a
  // thousand of them go in ten seconds, and not all in one commit.
  constexpr size_t kAtMost = 100;
  const auto timeout = options_.limits.session_idle_timeout_s;
  if (timeout == 0) return;
  session_handler_.ExpireIdleSessions(std::chrono::seconds(timeout), kAtMost);
}

void Server::Shutdown() {
  if (side_port_ != nullptr) side_port_->Drain();
  if (grpc_server_ != nullptr) {
    grpc_server_->GetHealthCheckService()->Shutdown();
    maintenance_.Stop();
    const auto deadline =
        std::chrono::steady_clock::now() + options_.drain_timeout;
    if (lane_ != nullptr) lane_->Drain(deadline);
    normalizer_service_.Drain(deadline);
    // gRPC and the lane wait for every call, and these for the disk.
    committer_->StopWaitingForRoom();
    if (lane_ != nullptr) lane_->Stop();
    // What is left are idle connections and calls that took too long.
    grpc_server_->Shutdown(std::chrono::system_clock::now() + kGoodbye);
    grpc_server_.reset();
  }
  http_.reset();  // it looks at the committer
  committer_.reset();
}

}  // namespace streamnorm
