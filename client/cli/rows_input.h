#ifndef STREAMNORM_CLIENT_CLI_ROWS_INPUT_H_
#define STREAMNORM_CLIENT_CLI_ROWS_INPUT_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/rows_source.h"
#include "client/streamnorm_client.h"

namespace streamnorm {

// What the options that say how rows are written in a file were given.
struct RowsInputFlags {
  std::string format = "auto";
  std::string delimiter;
  bool header = false;
  bool no_header = false;
  std::string columns;
};

// `flags` outlives the command.
void AddRowsInputOptions(CLI::App* command, RowsInputFlags* flags);

// For the file `path`, whose ending tells the delimiter where none was said.
absl::StatusOr<RowsSourceOptions> RowsSourceOptionsOf(
    const RowsInputFlags& flags, const std::string& path);

// A normalizer for the columns of the file; the one that exists if someone was
// faster. Says on stderr what it made.
absl::StatusOr<v1::Normalizer> CreateNormalizerFor(Client* client,
                                                   const std::string& id,
                                                   const std::string& preset,
                                                   const RowsSource& source);

// Finds the normalizer's features in the columns of the file.
absl::Status BindTo(const v1::Normalizer& normalizer, RowsSource* source);

// What the server would refuse for its nonfinite policy, found before the rows
// are sent: INVALID_ARGUMENT with the place in the file.
absl::Status CheckNonfinite(const v1::Normalizer& normalizer,
                            const RowsSource& source, const RowBatch& batch);

// The largest request that the server takes.
absl::StatusOr<uint64_t> MaxMessageBytes(Client* client);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_ROWS_INPUT_H_
