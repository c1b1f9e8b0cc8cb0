#ifndef STREAMNORM_CLIENT_CLI_ROWS_SOURCE_H_
#define STREAMNORM_CLIENT_CLI_ROWS_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/byte_source.h"
#include "stats/tensor_view.h"

namespace streamnorm {

// Some rows of a file.
struct RowBatch {
  DataType type = DataType::kFp64;
  size_t features = 0;
  size_t rows = 0;
  std::vector<uint8_t> values;  // [rows, features]
  uint64_t first_row = 1;       // its number in the file, from 1

  // CSV only: the line each row begins on, and the cells that are no features,
  // row by row.
  std::vector<uint64_t> lines;
  std::vector<std::string> other_cells;

  TensorView view() const { return {values.data(), type, rows, features}; }
};

// How rows are written: which cells are features, which go out as they came in.
struct RowLayout {
  size_t features = 0;
  std::vector<std::string> header;  // empty = none

  // Cell k of a row is feature cells[k] or, where that is negative, the other
  // cell number -1 - cells[k].
  std::vector<int64_t> cells;
  size_t other_cells() const { return cells.size() - features; }

  // What the file says beforehand (NPY).
  std::optional<uint64_t> rows;
  bool one_dimensional = false;
};

// All cells are features, in order, under `names` (may be empty).
RowLayout PlainLayout(size_t features, const std::vector<std::string>& names);

// A place between two rows of a file.
struct RowPosition {
  uint64_t bytes = 0;  // before it
  uint64_t rows = 0;   // before it
  uint64_t line = 1;   // that begins here; text files only
};

// Reads rows, a batch at a time. First Bind, then Read. Not thread safe.
class RowsSource {
 public:
  virtual ~RowsSource() = default;

  // Features of a normalizer made for this file, and their names, which may be
  // missing.
  virtual size_t features() const = 0;
  virtual std::vector<std::string> feature_names() const = 0;

  // Finds the features of a normalizer in the file. INVALID_ARGUMENT if they
  // aren't all there.
  virtual absl::Status Bind(size_t features,
                            const std::vector<std::string>& names) = 0;

  // Up to `most` rows of `type`; none at the end. On an error what `*batch`
  // holds is not to be used; INVALID_ARGUMENT names line and column.
  // REQUIRES: Bind was OK; most >= 1.
  virtual absl::Status Read(size_t most, DataType type, RowBatch* batch) = 0;

  // Behind the rows that were read. REQUIRES: Bind was OK, and so was every
  // Read.
  virtual RowPosition position() const = 0;

  // The next Read begins at a position() of the same file.
  // FAILED_PRECONDITION where there is no way back (stdin). REQUIRES: Bind was
  // OK.
  virtual absl::Status GoTo(const RowPosition& position) = 0;

  virtual const RowLayout& layout() const = 0;

  // Of the values in the file; a CSV file has FP64.
  virtual DataType type() const = 0;

  // How messages call a place: "data.csv:17: column 3 (\"age\")".
  virtual std::string Place(const RowBatch& batch, size_t row,
                            size_t feature) const = 0;

  virtual const BufferedInput& input() const = 0;
};

struct RowsSourceOptions {
  enum class Format { kAuto, kCsv, kNpy, kNdjson };
  enum class Header { kAuto, kPresent, kAbsent };

  Format format = Format::kAuto;  // by content
  char delimiter = ',';
  Header header = Header::kAuto;

  // "name,3,5-8": the columns that are features, by name in the header or by
  // number from 1. "" = all, or those with the normalizer's feature names.
  std::string columns;
};

// Reads as much as it takes to know the columns.
absl::StatusOr<std::unique_ptr<RowsSource>> OpenRows(
    std::unique_ptr<ByteSource> bytes, const RowsSourceOptions& options);

// The positions that `columns` (see RowsSourceOptions) means, from 0.
absl::StatusOr<std::vector<size_t>> ParseColumns(
    absl::string_view columns, const std::vector<std::string>& header,
    size_t width);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_ROWS_SOURCE_H_
