#ifndef STREAMNORM_CLIENT_LOSS_ERROR_H_
#define STREAMNORM_CLIENT_LOSS_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace streamnorm {

// DATA_LOSS found out by the client; ErrorReason answers `reason` for it, as
// for an error of the server.
absl::Status LossError(absl::string_view reason, absl::string_view message);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_LOSS_ERROR_H_
