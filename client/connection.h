#ifndef STREAMNORM_CLIENT_CONNECTION_H_
#define STREAMNORM_CLIENT_CONNECTION_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/client_options.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "streamnorm/v1/admin_service.grpc.pb.h"
#include "streamnorm/v1/normalizer_service.grpc.pb.h"

namespace streamnorm {

// What a client and its sessions share. Safe for concurrent use.
struct ClientConnection {
  std::string address;
  ClientOptions options;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::NormalizerService::Stub> stub;
  std::unique_ptr<v1::AdminService::Stub> admin;
  uint64_t max_message_bytes = 0;  // of the server
  std::string lane;                // the path of its socket; empty = not used
};

// The server's status, of a call or within an answer, with its details as
// payloads.
absl::Status FromGrpc(const grpc::Status& status);
absl::Status FromRpcStatus(const google::rpc::Status& proto);

// True for errors after which the same request may be sent again: whether it
// was answered or not, the server is not to be had right now.
bool IsRetryable(const absl::Status& status);

// Waits between two tries: 5 ms, doubled up to 500 ms.
std::chrono::milliseconds NextBackoff(std::chrono::milliseconds last);

// Waits before another try: `backoff`, and until the server can be reached.
// False if `deadline` came first. (A connection makes progress only while
// someone waits for it: sleeping would leave that to a 5 s timer of gRPC.)
bool WaitToRetry(const ClientConnection& connection,
                 std::chrono::milliseconds backoff,
                 std::chrono::steady_clock::time_point deadline);

// Calls `call` until it succeeds, fails for good, or `deadline`. Each try has
// the whole rest of the time.
absl::Status CallWithRetry(
    const ClientConnection& connection,
    std::chrono::steady_clock::time_point deadline,
    const std::function<grpc::Status(grpc::ClientContext*)>& call);

// gRPC takes deadlines of the system clock.
std::chrono::system_clock::time_point ToSystemTime(
    std::chrono::steady_clock::time_point time);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CONNECTION_H_
