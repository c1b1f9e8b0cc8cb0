#include "client/connection.h"

#include <algorithm>
#include <thread>

#include "absl/strings/cord.h"

namespace streamnorm {

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) details.Clear();
  details.set_code(status.error_code());
  details.set_message(status.error_message());
  return FromRpcStatus(details);
}

absl::Status FromRpcStatus(const google::rpc::Status& proto) {
  absl::Status status(static_cast<absl::StatusCode>(proto.code()),
                      proto.message());
  for (const auto& detail : proto.details()) {
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return status;
}

bool IsRetryable(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsCancelled(status);
}

std::chrono::milliseconds NextBackoff(std::chrono::milliseconds last) {
  using std::chrono::milliseconds;
  return std::clamp(2 * last, milliseconds(5), milliseconds(500));
}

bool WaitToRetry(const ClientConnection& connection,
                 std::chrono::milliseconds backoff,
                 std::chrono::steady_clock::time_point deadline) {
  if (std::chrono::steady_clock::now() + backoff >= deadline) return false;
  std::this_thread::sleep_for(backoff);
  return connection.channel->WaitForConnected(ToSystemTime(deadline));
}

absl::Status CallWithRetry(
    const ClientConnection& connection,
    std::chrono::steady_clock::time_point deadline,
    const std::function<grpc::Status(grpc::ClientContext*)>& call) {
  std::chrono::milliseconds backoff{0};
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(ToSystemTime(deadline));
    absl::Status status = FromGrpc(call(&context));
    backoff = NextBackoff(backoff);
    if (status.ok() || !IsRetryable(status) ||
        !WaitToRetry(connection, backoff, deadline)) {
      return status;
    }
  }
}

std::chrono::system_clock::time_point ToSystemTime(
    std::chrono::steady_clock::time_point time) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(
             time - std::chrono::steady_clock::now());
}

}  // namespace streamnorm
