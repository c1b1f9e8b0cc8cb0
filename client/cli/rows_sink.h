#ifndef STREAMNORM_CLIENT_CLI_ROWS_SINK_H_
#define STREAMNORM_CLIENT_CLI_ROWS_SINK_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/rows_source.h"

namespace streamnorm {

// Where rows go to. Not thread safe.
class RowsSink {
 public:
  virtual ~RowsSink() = default;

  // `values` take the place of the batch's own: [rows, features], of its type.
  virtual absl::Status Write(const RowBatch& batch,
                             absl::string_view values) = 0;

  // Completes the file with the rows written so far. Call it once.
  virtual absl::Status Finish() = 0;
};

struct RowsSinkOptions {
  std::string path;  // "" or "-" = stdout
  RowLayout layout;
  DataType type = DataType::kFp64;
  char delimiter = ',';
};

// NPY if `path` ends in .npy, CSV otherwise. CSV has the cells of the layout,
// values as the shortest text that reads back the same, NaN as an empty cell.
// NPY has the features only.
absl::StatusOr<std::unique_ptr<RowsSink>> OpenSink(
    const RowsSinkOptions& options);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_ROWS_SINK_H_
