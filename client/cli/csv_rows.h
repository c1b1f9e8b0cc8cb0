#ifndef STREAMNORM_CLIENT_CLI_CSV_ROWS_H_
#define STREAMNORM_CLIENT_CLI_CSV_ROWS_H_

#include <memory>
#include <string>
#include <vector>

#include "client/cli/csv.h"
#include "client/cli/rows_source.h"

namespace streamnorm {

// Rows of a CSV file. Not thread safe.
class CsvRows : public RowsSource {
 public:
  static absl::StatusOr<std::unique_ptr<RowsSource>> Open(
      std::unique_ptr<BufferedInput> input, const RowsSourceOptions& options);

  size_t features() const override { return positions_.size(); }
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
  CsvRows(std::unique_ptr<BufferedInput> input, char delimiter)
      : input_(std::move(input)), reader_(input_.get(), delimiter) {}

  absl::Status ReadFirstRecord(RowsSourceOptions::Header header);
  absl::Status FindByName(const std::vector<std::string>& names);
  void LayOut();
  absl::StatusOr<bool> NextRecord();
  absl::Status TakeValues(RowBatch* batch, std::vector<double>* values) const;
  absl::StatusOr<double> TakeValue(size_t position, DataType type) const;
  std::string ColumnText(size_t position) const;

  const std::unique_ptr<BufferedInput> input_;
  CsvReader reader_;
  bool chosen_ = false;  // by RowsSourceOptions::columns
  std::vector<std::string> header_;
  size_t width_ = 0;
  std::vector<size_t> positions_;  // of each feature
  RowLayout layout_;
  CsvRecord record_;
  bool record_pending_ = false;  // record_ was read and not used yet
  uint64_t next_row_ = 1;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_CSV_ROWS_H_
