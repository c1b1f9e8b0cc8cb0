#include "client/loss_error.h"

#include <string>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"

namespace streamnorm {

absl::Status LossError(absl::string_view reason, absl::string_view message) {
  absl::Status status = absl::DataLossError(message);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain("streamnorm");
  status.SetPayload("type.googleapis.com/google.rpc.ErrorInfo",
                    absl::Cord(info.SerializeAsString()));
  return status;
}

}  // namespace streamnorm
