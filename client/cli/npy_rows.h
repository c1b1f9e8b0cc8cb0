#ifndef STREAMNORM_CLIENT_CLI_NPY_ROWS_H_
#define STREAMNORM_CLIENT_CLI_NPY_ROWS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/npy.h"
#include "client/cli/rows_source.h"

namespace streamnorm {

// Rows of an NPY file: [rows, features]; an array of one dimension is one row,
// or, for a normalizer of one feature, that many rows. Not thread safe.
class NpyRows : public RowsSource {
 public:
  static absl::StatusOr<std::unique_ptr<RowsSource>> Open(
      std::unique_ptr<BufferedInput> input);

  size_t features() const override { return header_.shape.back(); }
  std::vector<std::string> feature_names() const override { return {}; }
  absl::Status Bind(size_t features,
                    const std::vector<std::string>& names) override;
  absl::Status Read(size_t most, DataType type, RowBatch* batch) override;
  RowPosition position() const override {
    return {input_->taken(), rows_read_};
  }
  absl::Status GoTo(const RowPosition& position) override;
  const RowLayout& layout() const override { return layout_; }
  DataType type() const override { return header_.type; }
  std::string Place(const RowBatch& batch, size_t row,
                    size_t feature) const override;
  const BufferedInput& input() const override { return *input_; }

 private:
  NpyRows(std::unique_ptr<BufferedInput> input, NpyHeader header)
      : input_(std::move(input)), header_(std::move(header)) {}

  absl::Status CheckSize(uint64_t rows, size_t features) const;
  absl::Status CheckAtEnd();
  absl::Status Problem(absl::string_view what) const;

  const std::unique_ptr<BufferedInput> input_;
  const NpyHeader header_;
  RowLayout layout_;
  uint64_t rows_ = 0;
  uint64_t rows_read_ = 0;
};

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_NPY_ROWS_H_
