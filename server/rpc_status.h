#ifndef STREAMNORM_SERVER_RPC_STATUS_H_
#define STREAMNORM_SERVER_RPC_STATUS_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace streamnorm {

// The one place where absl::Status meets gRPC. Payloads become details.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_RPC_STATUS_H_
