#ifndef STREAMNORM_CLIENT_CLI_NORMALIZER_LIST_H_
#define STREAMNORM_CLIENT_CLI_NORMALIZER_LIST_H_

#include <vector>

#include "absl/status/statusor.h"
#include "client/streamnorm_client.h"

namespace streamnorm {

// All normalizers of the server, by name, page by page.
absl::StatusOr<std::vector<v1::Normalizer>> ListAll(Client* client);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_NORMALIZER_LIST_H_
