#include "client/cli/npy_rows.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace streamnorm {
namespace {

constexpr char kOtherBytes[] =
    "more bytes after the array, want one array a file";

// Elements that a narrower type can't hold would become infinite.
std::optional<size_t> FirstTooLarge(const std::vector<double>& values,
                                    DataType type) {
  const double largest = LargestFinite(type);
  const auto found =
      std::find_if(values.begin(), values.end(), [&](double value) {
        return std::isfinite(value) && std::fabs(value) > largest;
      });
  if (found == values.end()) return std::nullopt;
  return static_cast<size_t>(found - values.begin());
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowsSource>> NpyRows::Open(
    std::unique_ptr<BufferedInput> input) {
  auto header = ReadNpyHeader(input.get());
  if (!header.ok()) return header.status();
  if (header->shape.empty() || header->shape.size() > 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        input->name(), ": shape (", absl::StrJoin(header->shape, ", "),
        "), want (rows, features): x.reshape(-1, features)"));
  }
  return std::unique_ptr<RowsSource>(
      new NpyRows(std::move(input), *std::move(header)));
}

absl::Status NpyRows::Bind(size_t features,
                           const std::vector<std::string>& names) {
  const auto& shape = header_.shape;
  const bool single_feature = shape.size() == 1 && features == 1;
  if (!single_feature && shape.back() != features) {
    return Problem(absl::StrCat("shape (", absl::StrJoin(shape, ", "),
                                "), want ", features, " features a row"));
  }
  rows_ = single_feature ? shape[0] : shape.size() == 1 ? 1 : shape[0];
  layout_ = PlainLayout(features, names);
  layout_.rows = rows_;
  layout_.one_dimensional = shape.size() == 1;
  return CheckSize(rows_, features);
}

// Where the size is known beforehand, nothing of a damaged file is sent.
absl::Status NpyRows::CheckSize(uint64_t rows, size_t features) const {
  if (!input_->size()) return absl::OkStatus();
  const uint64_t bytes = *input_->size() - input_->taken();
  const uint64_t row_bytes = features * ElementSize(header_.type);
  if (rows > bytes / row_bytes) {
    return Problem(absl::StrCat("ends after ", bytes / row_bytes,
                                " rows, want ", rows, ": it is cut off"));
  }
  if (rows * row_bytes < bytes) return Problem(kOtherBytes);
  return absl::OkStatus();
}

absl::Status NpyRows::Read(size_t most, DataType type, RowBatch* batch) {
  *batch = RowBatch();
  batch->type = header_.type;
  batch->features = layout_.features;
  batch->first_row = rows_read_ + 1;
  batch->rows = std::min<uint64_t>(most, rows_ - rows_read_);
  if (batch->rows == 0) return CheckAtEnd();
  batch->values.resize(batch->view().size_bytes());
  const auto got = input_->Read(reinterpret_cast<char*>(batch->values.data()),
                                batch->values.size());
  if (!got.ok()) return got.status();
  if (*got < batch->values.size()) {
    return Problem(absl::StrCat("ends in the middle, want ", rows_, " rows"));
  }
  rows_read_ += batch->rows;
  if (type == header_.type) return absl::OkStatus();

  std::vector<double> values(batch->rows * batch->features);
  LoadAsDouble(batch->view(), 0, values.size(), values.data());
  if (const auto bad = FirstTooLarge(values, type)) {
    return absl::InvalidArgumentError(absl::StrCat(
        Place(*batch, *bad / batch->features, *bad % batch->features), ": ",
        values[*bad], " is too large for ", DataTypeName(type)));
  }
  batch->type = type;
  batch->values.resize(batch->view().size_bytes());
  StoreFromDouble(values.data(), values.size(), type, batch->values.data());
  return absl::OkStatus();
}

absl::Status NpyRows::GoTo(const RowPosition& position) {
  rows_read_ = position.rows;
  return input_->Seek(position.bytes);
}

absl::Status NpyRows::CheckAtEnd() {
  const auto rest = input_->Peek(1);
  if (!rest.ok()) return rest.status();
  return rest->empty() ? absl::OkStatus() : Problem(kOtherBytes);
}

std::string NpyRows::Place(const RowBatch& batch, size_t row,
                           size_t feature) const {
  return absl::StrCat(input_->name(), ": [", batch.first_row - 1 + row, ", ",
                      feature, "]");
}

absl::Status NpyRows::Problem(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(input_->name(), ": ", what));
}

}  // namespace streamnorm
