#ifndef STREAMNORM_CLIENT_CLI_NDJSON_ROWS_H_
#define STREAMNORM_CLIENT_CLI_NDJSON_ROWS_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/rows_source.h"

namespace streamnorm {

// True if text that begins so may be NDJSON: '{' or '[', spaces aside.
bool LooksLikeNdjson(absl::string_view begin);

// Rows of a file with a JSON value on every line, all of one kind: an array of
// numbers, or an object whose members are features by name (members with other
// names may be anything). null and NaN are missing values; Infinity, as Python
// writes it, is taken too. Blank lines are passed over. Not thread safe.
class NdjsonRows : public RowsSource {
 public:
  static absl::StatusOr<std::unique_ptr<RowsSource>> Open(
      std::unique_ptr<BufferedInput> input, const RowsSourceOptions& options);

  size_t features() const override { return chosen_.size(); }
  std::vector<std::string> feature_names() const override;
  absl::Status Bind(size_t features,
                    const std::vector<std::string>& names) override;
  absl::Status Read(size_t most, DataType type, RowBatch* batch) override;
  RowPosition position() const override;
  absl::Status GoTo(const RowPosition& position) override;
  const RowLayout& layout() const override { return layout_; }
  DataType type() const override { return DataType::kFp64; }
  std::string Place(const RowBatch& batch, size_t row,
                    size_t feature) const override;
  const BufferedInput& input() const override { return *input_; }

 private:
  explicit NdjsonRows(std::unique_ptr<BufferedInput> input)
      : input_(std::move(input)) {}

  // The next line that is not blank, with its end; empty at the end of the
  // file. Valid until the input is read on.
  absl::StatusOr<absl::string_view> NextLine();
  absl::StatusOr<absl::string_view> PeekLine();
  void TakeLine(absl::string_view line);

  absl::Status LearnColumns();
  absl::Status TakeRow(absl::string_view line, std::vector<double>* values);
  std::string ColumnText(size_t feature) const;
  absl::Status Problem(absl::string_view what) const;

  const std::unique_ptr<BufferedInput> input_;
  bool objects_ = false;            // else arrays
  std::vector<std::string> names_;  // of the first object's numbers, in order
  size_t width_ = 0;                // of arrays; else names_.size()
  std::vector<size_t> chosen_;      // columns that are features, in order
  bool by_columns_ = false;         // chosen_ by RowsSourceOptions::columns

  // After Bind: the feature of a member, or of an array's column; -1 = none.
  std::map<std::string, size_t, std::less<>> feature_of_name_;
  std::vector<int64_t> feature_of_column_;
  std::vector<std::string> feature_names_;
  RowLayout layout_;

  uint64_t line_ = 1;  // that comes next
  uint64_t rows_read_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_NDJSON_ROWS_H_
