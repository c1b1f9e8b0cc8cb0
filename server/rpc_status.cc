#include "server/rpc_status.h"

#include <string>

#include "server/wire.h"

namespace streamnorm {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message()),
          ToRpcStatus(status).SerializeAsString()};
}

}  // namespace streamnorm
